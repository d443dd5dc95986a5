"""File types: when a class is believed, and by which name it is told."""

from typing import Any

import numpy as np
import pytest

from weir_inference.core.prediction import Blobs, Classes, PredictionOptions, ScoredClass
from weir_inference.core.processing import Postprocess
from weir_inference.core.tasks.file_type import FileType, FileTypes, believed

TYPES = FileTypes(
    labels=("python", "zip", "randombytes", "randomtxt", "markdown", "sgml"),
    texts=frozenset({"python", "markdown", "randomtxt", "xml"}),
    threshold=0.5,
    thresholds={"markdown": 0.75, "sgml": 0.9},
    renamed={"randombytes": "unknown", "randomtxt": "txt", "sgml": "xml"},
)


@pytest.mark.parametrize(
    ("label", "score", "told"),
    [
        ("python", 0.5, "python"),
        ("python", 0.49, "txt"),
        ("zip", 0.49, "unknown"),
        ("markdown", 0.74, "txt"),
        ("markdown", 0.75, "markdown"),
        ("randombytes", 0.9, "unknown"),
        ("randomtxt", 0.9, "txt"),
        ("randomtxt", 0.2, "txt"),
        ("sgml", 0.85, "txt"),
        ("sgml", 0.95, "xml"),
    ],
)
def test_a_class_is_told_by_its_name_only_where_it_is_sure_enough(
    label: str, score: float, told: str
) -> None:
    second = ScoredClass("elf", 0.1)
    found = believed(Classes((ScoredClass(label, score), second)), TYPES)
    assert found == Classes((ScoredClass(told, score), second))


def test_no_name_is_told_twice() -> None:
    others = (ScoredClass("txt", 0.3), ScoredClass("elf", 0.1))
    found = believed(Classes((ScoredClass("randomtxt", 0.6), *others)), TYPES)
    assert [one.label for one in found.classes] == ["txt", "elf"]


async def test_small_blobs_never_come_to_the_model_and_others_come_alone(
    fake_model: Any, fake_encoder: Any
) -> None:
    scores = np.eye(6, dtype=np.float32)[[0, 1, 1, 0]]
    model = fake_model(lambda inputs: {"y": inputs["x"]})
    encoder = fake_encoder(scores, ["empty", None, "txt", None])
    task = FileType(encoder, model, "y", TYPES, Postprocess(top_k=1))
    answers = await task.predict(model, Blobs((b"",) * 4), PredictionOptions())
    assert [one.classes[0].label for one in answers] == ["empty", "zip", "txt", "python"]  # type: ignore[union-attr]
    assert [len(call["x"]) for call in model.calls] == [1, 1]
