"""Where files are: a folder here, or a copy of a Hugging Face repository."""

import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

MODEL_CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
# Weights as safetensors only: nothing is fetched that could run code. Grammars need the tokenizer.
MODEL_FILES = [
    MODEL_CONFIG,
    "generation_config.json",
    "tokenizer.json",
    "*.safetensors",
    "*.safetensors.index.json",
]
ADAPTER_FILES = [ADAPTER_CONFIG, ADAPTER_WEIGHTS]
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class ModelFolderNotFound(ValueError):
    """Neither a folder here nor a repository that can be fetched."""


def model_folder(source: str) -> Path:
    """A model's: a path, or a hub id `owner/name` fetched if need be, which may take minutes."""
    return _folder(source, MODEL_CONFIG, MODEL_FILES, "a Hugging Face model folder")


def adapter_folder(source: str) -> Path:
    """The same for a LoRA adapter in PEFT's format."""
    return _folder(source, ADAPTER_CONFIG, ADAPTER_FILES, "a PEFT adapter's folder")


def _folder(source: str, config: str, files: Sequence[str], what: str) -> Path:
    folder = Path(source).expanduser()
    if folder.is_dir():
        if not (folder / config).exists():
            raise ModelFolderNotFound(f"{folder} has no {config}: not {what}")
        return folder
    if not HUB_ID.fullmatch(source):
        raise ModelFolderNotFound(f"{source} is neither a folder here nor a hub id (owner/name)")
    try:
        return Path(snapshot_download(source, allow_patterns=list(files)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelFolderNotFound(
            f"{source} is no folder here, and the hub did not give it: {type(error).__name__}"
        ) from error
