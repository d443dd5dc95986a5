"""Object detection: boxes in the pixels of the picture that was given."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weir_inference.core.prediction import (
    Box,
    Boxes,
    Pictures,
    Prediction,
    PredictionInput,
    PredictionOptions,
)
from weir_inference.core.processing import Activation, Postprocess
from weir_inference.core.tasks.boxes import Corners, Found, Placement, area, without_doubles
from weir_inference.core.tasks.decoders import Decode
from weir_inference.core.tasks.task import Encoder, Run, Signature, run_rows, taken
from weir_inference.core.tensors import Tensor

SCORE, IOU, BOXES = 0.5, 0.45, 100  # where the model does not say
CANDIDATES_MAX = 4096  # boxes whose overlaps are looked at


@dataclass(frozen=True)
class Detect:
    """A `Task` over the `outputs` that `decode` reads, in its order; `size` is height, width."""

    encoder: Encoder[Pictures, Placement]
    signature: Signature
    outputs: Sequence[str]
    decode: Decode
    size: tuple[int, int]
    labels: Sequence[str]
    postprocess: Postprocess

    @property
    def kinds(self) -> tuple[type[PredictionInput], ...]:
        return (Pictures,)

    async def predict(
        self, run: Run, asked: PredictionInput, options: PredictionOptions
    ) -> list[Prediction]:
        """`Boxes` of every picture."""
        predictions: list[Prediction] = []
        async for rows in self.encoder.rows(taken(asked, Pictures, "pictures")):
            answers = await run_rows(run, self.signature, rows.inputs, self.outputs)
            for i, placement in enumerate(rows.about):
                row = [answer[i] for answer in answers]
                # In a thread: thousands of boxes take longer than the event loop may stand still.
                predictions.append(await asyncio.to_thread(self._boxes, row, placement, options))
        return predictions

    def _boxes(
        self, row: Sequence[Tensor], placement: Placement, options: PredictionOptions
    ) -> Boxes:
        own = self.postprocess
        found = self.decode(row, self.size, len(self.labels), own.activation or Activation.NONE)
        least = options.min_score
        if least is None:
            least = SCORE if own.score is None else own.score
        found = found.only(found.scores >= least)
        found = found.only(np.argsort(-found.scores, kind="stable")[:CANDIDATES_MAX])
        # Cut before overlaps are taken: what lies outside of the picture is no difference.
        found = Found(placement.in_picture(found.boxes), found.scores, found.classes)
        found = found.only(area(found.boxes) > 0)  # not so where an edge is no number
        iou = IOU if own.iou is None else own.iou
        found = without_doubles(found, iou, options.top_k or own.top_k or BOXES)
        boxes = tuple(
            _box(edges, self.labels[label], float(score))
            for edges, score, label in zip(found.boxes, found.scores, found.classes, strict=True)
        )
        return Boxes(boxes, placement.width, placement.height)


def _box(edges: Corners, label: str, score: float) -> Box:
    x_min, y_min, x_max, y_max = map(float, edges)
    return Box(x_min, y_min, x_max, y_max, label, min(score, 1.0))
