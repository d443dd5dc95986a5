"""A model is a folder here or a repository of the hub; what is neither is told apart."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from weir_inference.adapters import model_folder as module
from weir_inference.adapters.model_folder import ModelFolderNotFound, model_folder


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert model_folder(str(tmp_path)) == tmp_path


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderNotFound, match=r"no config\.json"):
        model_folder(str(tmp_path))


@pytest.mark.parametrize("source", ["/no/such/folder", "./gone", "one-word", "a/b/c"])
def test_what_is_neither_a_folder_nor_a_hub_id_is_refused(source: str) -> None:
    with pytest.raises(ModelFolderNotFound, match="neither"):
        model_folder(source)


def test_a_hub_id_fetches_configuration_and_safetensors_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}

    def fetch(source: str, allow_patterns: list[str]) -> str:
        asked[source] = allow_patterns
        return str(tmp_path)

    monkeypatch.setattr(module, "snapshot_download", fetch)
    assert model_folder("owner/name") == tmp_path
    assert all(p.endswith((".json", ".safetensors")) for p in asked["owner/name"])


def test_a_hub_that_cannot_be_reached_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(source: str, allow_patterns: list[str]) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(module, "snapshot_download", fetch)
    with pytest.raises(ModelFolderNotFound, match="owner/name"):
        model_folder("owner/name")
