"""Detection: what of a model's boxes is told, and where."""

from typing import Any

import numpy as np
import pytest

from weir_inference.core.prediction import Blobs, Box, Pictures, PredictionOptions
from weir_inference.core.processing import Postprocess
from weir_inference.core.tasks.boxes import Placement
from weir_inference.core.tasks.decoders import yolo
from weir_inference.core.tasks.detect import Detect
from weir_kit.errors import InvalidArgument

TABLE = np.array(
    [
        [50, 60, 20, 20, 0.9, 0.0],
        [51, 60, 20, 20, 0.8, 0.0],  # the same cat again
        [50, 60, 20, 20, 0.0, 0.7],  # a dog in the same place
        [150, 60, 20, 20, 0.3, 0.0],
        [np.inf, 60, 20, 20, 0.9, 0.0],
        [50, 4, 20, 10, 0.9, 0.0],  # in the border above the picture
        [np.nan, 60, 20, 20, 0.9, 0.0],
        [10, 60, 20, 20, np.nan, 0.0],
    ],
    np.float32,
)


def detect(fake_model: Any, fake_encoder: Any, **own: Any) -> tuple[Detect, Any]:
    model = fake_model(lambda inputs: {"boxes": np.stack([TABLE] * len(inputs["x"]))})
    placements = [Placement(100, 50, 2.0, 2.0, 0.0, 10.0)] * 3
    encoder = fake_encoder(np.zeros((3, 1), np.float32), placements)
    labels = ("cat", "dog")
    return Detect(encoder, model, ["boxes"], yolo, (120, 200), labels, Postprocess(**own)), model


async def told(task: Detect, model: Any, **options: Any) -> list[list[Box]]:
    predictions = await task.predict(model, Pictures((b"",) * 3), PredictionOptions(**options))
    return [list(one.boxes) for one in predictions]  # type: ignore[union-attr]


async def test_each_thing_is_told_once_in_the_picture_s_pixels(
    fake_model: Any, fake_encoder: Any
) -> None:
    task, model = detect(fake_model, fake_encoder)
    pictures = await told(task, model)
    assert len(pictures) == 3
    assert len(model.calls) == 2  # a part of two pictures, and one of one
    cat, dog = pictures[2]
    assert (cat.label, dog.label) == ("cat", "dog")
    assert (cat.x_min, cat.y_min, cat.x_max, cat.y_max) == (20, 20, 30, 30)
    assert (cat.score, dog.score) == pytest.approx((0.9, 0.7))


async def test_the_caller_may_ask_for_more_or_less_than_is_usual(
    fake_model: Any, fake_encoder: Any
) -> None:
    task, model = detect(fake_model, fake_encoder, score=0.75)
    assert [len(boxes) for boxes in await told(task, model)] == [1, 1, 1]
    assert [len(boxes) for boxes in await told(task, model, min_score=0.2)] == [3, 3, 3]
    assert [len(boxes) for boxes in await told(task, model, min_score=0.2, top_k=2)] == [2, 2, 2]


async def test_other_inputs_are_refused(fake_model: Any, fake_encoder: Any) -> None:
    task, model = detect(fake_model, fake_encoder)
    with pytest.raises(InvalidArgument, match="takes pictures"):
        await task.predict(model, Blobs((b"",)), PredictionOptions())
