"""Where models and adapters come from, as the inference service sees it."""

from pathlib import Path


def absolute(source: str) -> str:
    """Inference has a working folder of its own: what is a folder here is named from the root."""
    folder = Path(source).expanduser()
    return str(folder.resolve()) if source and folder.is_dir() else source
