"""Where a model's files are: a folder here, or a copy of a Hugging Face repository."""

import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

# Weights as safetensors only: nothing is fetched that could run code. Grammars need the tokenizer.
FILES = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "*.safetensors",
    "*.safetensors.index.json",
]
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class ModelFolderNotFound(ValueError):
    """Neither a folder here nor a repository that can be fetched."""


def model_folder(source: str) -> Path:
    """The folder of a path or a hub id `owner/name`, fetched if need be: may take minutes."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise ModelFolderNotFound(
                f"{folder} has no config.json: not a Hugging Face model folder"
            )
        return folder
    if not HUB_ID.fullmatch(source):
        raise ModelFolderNotFound(f"{source} is neither a folder here nor a hub id (owner/name)")
    try:
        return Path(snapshot_download(source, allow_patterns=FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelFolderNotFound(
            f"{source} is no folder here, and the hub did not give it: {type(error).__name__}"
        ) from error
