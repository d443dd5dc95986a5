"""Every shipped folder is whole, small, and says what the service needs to know."""

import json
from pathlib import Path

import onnx
import pytest
import yaml

from weir_inference.core.model_spec import model_spec
from weir_inference.training.__main__ import MODELS as TRAINED
from weir_inference.training.export import OPSET, checksums
from weir_inference.training.scores import Score

FOLDERS = Path(__file__).parents[2] / "models"
NAMES = sorted(TRAINED)
BYTES_MAX = 5_000_000


@pytest.fixture(params=NAMES)
def folder(request: pytest.FixtureRequest) -> Path:
    return FOLDERS / str(request.param) / "1"


def test_the_checksums_are_those_of_the_files(folder: Path) -> None:
    assert (folder / "SHA256SUMS").read_text() == checksums(folder)


def test_a_folder_stays_small(folder: Path) -> None:
    assert sum(file.stat().st_size for file in folder.iterdir()) <= BYTES_MAX


def test_what_the_description_names_is_there(folder: Path) -> None:
    spec = model_spec(yaml.safe_load((folder / "model.yaml").read_text()))
    for key, name in spec.named_files.items():
        assert (folder / name).stat().st_size > 0, key


def test_the_card_tells_every_score(folder: Path) -> None:
    card = (folder / "MODEL_CARD.md").read_text()
    for name, score in json.loads((folder / "scores.json").read_text()).items():
        assert f"| {name} | {Score(**score)} | {score['n']:,} |" in card


def test_a_model_has_one_output_a_label(folder: Path) -> None:
    described = yaml.safe_load((folder / "model.yaml").read_text())
    model = onnx.load(folder / described["file"])
    assert model.opset_import[0].version == OPSET
    if "labels" in described:
        labels = (folder / described["labels"]).read_text().splitlines()
        assert model.graph.output[0].type.tensor_type.shape.dim[1].dim_value == len(labels)
