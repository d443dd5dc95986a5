"""The files of a Hugging Face tokenizer: where they are and what they say."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weir_kit.config import ConfigError

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
SPECIAL_TOKENS = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


@dataclass(frozen=True)
class TokenizerFiles:
    """What is in a tokenizer's folder.

    `special_tokens` has `bos_token`, `eos_token` and the like where the configuration names them.
    `chat_template` is the template's source, `chat_template_file` the file that it is from.
    """

    tokenizer_json: str
    special_tokens: dict[str, str]
    chat_template: str | None
    chat_template_file: Path


def locate(source: str) -> Path:
    """The folder that `source` is, or the local copy of the Hugging Face repository that it names.

    Of a repository just the tokenizer's files are fetched. Raises ConfigError naming the source.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if not HUB_ID.fullmatch(source):
        raise ConfigError(f"{source!r} is neither a folder nor a Hugging Face id (owner/name)")
    # Here, as a folder needs none of it and it takes a quarter of a second.
    from huggingface_hub import snapshot_download

    try:
        fetched = snapshot_download(
            source, allow_patterns=[TOKENIZER_FILE, CONFIG_FILE, TEMPLATE_FILE]
        )
    except Exception as error:  # the library raises its own, the HTTP client's and OSError
        raise ConfigError(
            f"{source!r} is no folder, and fetching it from the Hugging Face hub failed: {error}"
        ) from error
    return Path(fetched)


def read_files(folder: Path) -> TokenizerFiles:
    """Read a folder. Raises ConfigError naming the file that is missing or wrong."""
    tokenizer = folder / TOKENIZER_FILE
    if not tokenizer.is_file():
        raise ConfigError(f"{tokenizer} is missing: a model's folder needs a {TOKENIZER_FILE}")
    config = _read_config(folder / CONFIG_FILE)
    template = folder / TEMPLATE_FILE
    if template.is_file():
        return TokenizerFiles(
            tokenizer.read_text("utf-8"),
            _special_tokens(config),
            template.read_text("utf-8"),
            template,
        )
    return TokenizerFiles(
        tokenizer.read_text("utf-8"),
        _special_tokens(config),
        _named_template(config.get("chat_template"), folder / CONFIG_FILE),
        folder / CONFIG_FILE,
    )


def _read_config(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ConfigError(f"{file} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{file} holds no JSON object")
    return config


def _special_tokens(config: dict[str, Any]) -> dict[str, str]:
    """A token is written as a string or as an object with `content`."""
    found = {}
    for short in SPECIAL_TOKENS:
        token = config.get(f"{short}_token")
        text = token.get("content") if isinstance(token, dict) else token
        if isinstance(text, str):
            found[f"{short}_token"] = text
    return found


def _named_template(template: Any, file: Path) -> str | None:
    """A template is one string, or a list of named ones of which `default` is for conversations."""
    if template is None or isinstance(template, str):
        return template
    try:
        named = {one["name"]: one["template"] for one in template}
    except (TypeError, KeyError) as error:
        raise ConfigError(
            f"{file}: chat_template is neither a text nor a list of named texts"
        ) from error
    found = named.get("default")
    if found is not None and not isinstance(found, str):
        raise ConfigError(f"{file}: the chat template named default is no text")
    return found
