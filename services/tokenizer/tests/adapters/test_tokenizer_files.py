"""Finding and reading a tokenizer's files."""

import json
from pathlib import Path

import huggingface_hub
import pytest

from weir_kit.config import ConfigError
from weir_tokenizer.adapters.tokenizer_files import locate, read_files


def folder_with(folder: Path, config: object = None, template: str | None = None) -> Path:
    (folder / "tokenizer.json").write_text("{}", "utf-8")
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, "utf-8")
    return folder


def test_special_tokens_are_texts_or_objects(tmp_path: Path) -> None:
    config = {
        "bos_token": "<s>",
        "eos_token": {"content": "</s>", "lstrip": False},
        "pad_token": None,
    }
    files = read_files(folder_with(tmp_path, config))
    assert files.special_tokens == {"bos_token": "<s>", "eos_token": "</s>"}


def test_a_folder_may_have_just_the_tokenizer(tmp_path: Path) -> None:
    files = read_files(folder_with(tmp_path))
    assert (files.special_tokens, files.chat_template) == ({}, None)


def test_the_template_named_default_is_taken(tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    assert read_files(folder_with(tmp_path, {"chat_template": named})).chat_template == "plain"


def test_the_template_file_wins(tmp_path: Path) -> None:
    files = read_files(folder_with(tmp_path, {"chat_template": "old"}, template="new"))
    assert files.chat_template == "new"
    assert files.chat_template_file.name == "chat_template.jinja"


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer\.json is missing"):
        read_files(tmp_path)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"chat_template": 5}', '{"chat_template": [{"name": "default"}]}']
)
def test_a_wrong_configuration_is_named(tmp_path: Path, text: str) -> None:
    folder_with(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=r"tokenizer_config\.json"):
        read_files(tmp_path)


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert locate(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("source", ["/no/such/folder", "../away", "a/b/c", "owner/na me"])
def test_what_is_neither_folder_nor_id_is_refused(source: str) -> None:
    with pytest.raises(ConfigError, match="neither a folder nor a Hugging Face id"):
        locate(source)


def test_of_a_repository_no_weights_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def fetch(repo_id: str, *, allow_patterns: list[str]) -> str:
        asked[repo_id] = allow_patterns
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert locate("owner/name") == tmp_path
    assert asked == {
        "owner/name": ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
    }


def test_a_failed_fetch_says_what_was_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(repo_id: str, *, allow_patterns: list[str]) -> str:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    with pytest.raises(ConfigError, match=r"'owner/name' is no folder, and fetching .* no network"):
        locate("owner/name")
