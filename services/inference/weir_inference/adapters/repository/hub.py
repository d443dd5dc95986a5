"""Versions from a Hugging Face hub, kept in the hub client's own cache."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    DryRunError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
)

from weir_inference.adapters.model_folder import HUB_ID, MODEL_FILES
from weir_inference.adapters.repository.bad_model_folder import SourceNotFound
from weir_inference.adapters.repository.folder import ModelFiles, open_folder
from weir_inference.adapters.repository.folder_files import FolderLimits
from weir_inference.adapters.repository.in_thread import Stop
from weir_inference.adapters.repository.manifest import MANIFEST
from weir_inference.adapters.repository.model_yaml import MODEL_YAML
from weir_inference.adapters.repository.onnx_file import EXTERNAL_SUFFIXES
from weir_inference.adapters.repository.verify import DATA, WEIGHTS, WITHOUT_SUFFIX

SCHEME = "hf://"
REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,127}", re.ASCII)
FIRST = [MODEL_YAML, MANIFEST]
PLAIN = [*MODEL_FILES, "tokenizer_config.json", "chat_template.jinja"]
OURS = [
    MANIFEST,
    *sorted(WITHOUT_SUFFIX),
    *(f"*{suffix}" for suffix in sorted({*DATA, *WEIGHTS, *EXTERNAL_SUFFIXES})),
]


def open_hub(repository: str, limits: FolderLimits, stop: Stop) -> ModelFiles:
    """Fetch `owner/name` or `owner/name@revision` where it is not here yet, and verify it.

    `revision` of what is returned is the commit. A repository with `model.yaml` is taken as it is;
    of another only what a text model needs is fetched and looked at, so that code and pickles
    beside it do not matter. Raises `BadModelFolder`.
    """
    name, at, revision = repository.partition("@")
    if not HUB_ID.fullmatch(name) or (at and not REVISION.fullmatch(revision)):
        raise SourceNotFound(f"a source of the hub is {SCHEME}owner/name or owner/name@revision")
    try:
        # First what tells which files are wanted; everything else is then of the same commit.
        first = Path(snapshot_download(name, revision=revision or None, allow_patterns=FIRST))
        ours = any((first / one).exists() for one in FIRST)
        patterns = OURS if ours else PLAIN
        _check_sizes(name, first.name, patterns, limits)
        stop.check()
        folder = Path(snapshot_download(name, revision=first.name, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise SourceNotFound(f"the hub did not give {name} ({type(error).__name__})") from error

    def left_out(file: str) -> bool:
        return not file.endswith("/") and not any(fnmatchcase(file, one) for one in patterns)

    return open_folder(folder, limits, stop, revision=first.name, left_out=left_out)


def _check_sizes(name: str, commit: str, patterns: Sequence[str], limits: FolderLimits) -> None:
    try:
        plan = snapshot_download(name, revision=commit, allow_patterns=list(patterns), dry_run=True)
    except DryRunError:
        return  # offline: only what was fetched before is used, and that is checked by its files
    limits.check({file.filename: file.file_size or 0 for file in plan})
