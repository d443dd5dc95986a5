"""Versions are brought to where they belong, and nowhere else."""

from pathlib import Path
from typing import Any

import pytest

from weir_inference.adapters.repository.model_cache import ModelCache
from weir_inference.adapters.repository.shelf import Shelf
from weir_inference.adapters.repository.state import StateFile
from weir_kit.clock import ManualClock
from weir_kit.errors import Conflict, InvalidArgument


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    fetched = tmp_path / "state" / "models"
    fetched.mkdir(parents=True)
    opener: Any = None  # nothing is opened
    cache = ModelCache(tmp_path / "cache", 1 << 30, ManualClock(), free_bytes_min=0)
    return Shelf([fetched], {"fixed": "somewhere"}, cache, StateFile(tmp_path / "s.json"), opener)


def source_in(folder: Path) -> str:
    model = folder / "model"
    model.mkdir()
    (model / "model.yaml").write_text("task: generation\nengine: torch\n")
    for name, text in (("config.json", "{}"), ("tokenizer.json", "{}")):
        (model / name).write_text(text)
    return str(model)


async def test_a_version_is_fetched_once(shelf: Shelf, tmp_path: Path) -> None:
    source = source_in(tmp_path)
    await shelf.fetch("mine", 3, source)
    assert set(await shelf.present()) == {"fixed", "mine"}
    assert (tmp_path / "state/models/mine/3/model.yaml").exists()
    with pytest.raises(Conflict):
        await shelf.fetch("mine", 3, source)
    with pytest.raises(Conflict, match="WEIR_MODELS"):
        await shelf.fetch("fixed", 2, source)


@pytest.mark.parametrize("name", ["a/../../../evil", "org/model", "..", ".hidden", "", "a:b"])
async def test_a_name_that_leads_elsewhere_is_refused_and_nothing_is_written(
    shelf: Shelf, tmp_path: Path, name: str
) -> None:
    source = source_in(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InvalidArgument) as refused:
        await shelf.fetch(name, 1, source)
    assert refused.value.field == "name"
    assert sorted(tmp_path.rglob("*")) == before
