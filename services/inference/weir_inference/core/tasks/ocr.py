"""OCR over pictures of one line each: which way up it is, or what it says."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weir_inference.core.prediction import (
    Box,
    Line,
    Lines,
    Pictures,
    Prediction,
    PredictionInput,
    PredictionOptions,
)
from weir_inference.core.processing import Activation, Postprocess
from weir_inference.core.tasks.boxes import Placement
from weir_inference.core.tasks.scores import Floats, activated, check_columns
from weir_inference.core.tasks.task import Encoder, Run, Signature, run_rows, taken

UPRIGHT, TURNED = "0", "180"  # the labels of a model of directions
TURNED_FROM = 0.9  # probability; PaddleOCR's choice
BLANK = 0  # CTC's class for "nothing new"; the characters follow


@dataclass(frozen=True)
class Direction:
    """A `Task` over one output [rows, labels] whose labels are degrees."""

    encoder: Encoder[Pictures, Placement]
    signature: Signature
    output: str
    labels: Sequence[str]
    postprocess: Postprocess

    @property
    def kinds(self) -> tuple[type[PredictionInput], ...]:
        return (Pictures,)

    async def predict(
        self, run: Run, asked: PredictionInput, options: PredictionOptions
    ) -> list[Prediction]:
        """`Lines` of every picture: one, of no text, its score that of its direction."""
        activation = self.postprocess.activation or Activation.NONE
        enough = TURNED_FROM if self.postprocess.score is None else self.postprocess.score
        predictions: list[Prediction] = []
        async for rows in self.encoder.rows(taken(asked, Pictures, "pictures")):
            (numbers,) = await run_rows(run, self.signature, rows.inputs, (self.output,))
            check_columns(numbers.shape[-1], self.labels)
            column = self.labels.index(TURNED)
            for scores, placement in zip(activated(numbers, activation), rows.about, strict=True):
                turned = bool(scores[column] >= enough)
                score = float(scores[column] if turned else 1 - scores[column])
                line = Line(whole(placement, score), turned=int(TURNED) if turned else 0)
                predictions.append(_lines(line, options))
        return predictions


@dataclass(frozen=True)
class Read:
    """A `Task` over one output [rows, steps, 1 + characters] by CTC (Graves et al. 2006)."""

    encoder: Encoder[Pictures, Placement]
    signature: Signature
    output: str
    characters: Sequence[str]
    postprocess: Postprocess

    @property
    def kinds(self) -> tuple[type[PredictionInput], ...]:
        return (Pictures,)

    async def predict(
        self, run: Run, asked: PredictionInput, options: PredictionOptions
    ) -> list[Prediction]:
        """`Lines` of every picture: one, or none where nothing is read."""
        activation = self.postprocess.activation or Activation.NONE
        predictions: list[Prediction] = []
        async for rows in self.encoder.rows(taken(asked, Pictures, "pictures")):
            (numbers,) = await run_rows(run, self.signature, rows.inputs, (self.output,))
            check_columns(numbers.shape[-1] - 1, self.characters)
            for scores, placement in zip(activated(numbers, activation), rows.about, strict=True):
                text, score = read(scores, self.characters)
                line = Line(whole(placement, score), text)
                predictions.append(_lines(line, options) if text else Lines(()))
        return predictions


def read(scores: Floats, characters: Sequence[str]) -> tuple[str, float]:
    """The likeliest class of each step of scores [steps, 1 + characters], repeats and blanks out.

    Beside the text the mean score of its steps, 0 for an empty one.
    """
    best = scores.argmax(-1)
    new = np.concatenate(([True], best[1:] != best[:-1])) & (best != BLANK)
    steps = np.flatnonzero(new)
    if not len(steps):
        return "", 0.0
    text = "".join(characters[best[step] - 1] for step in steps)
    return text, float(scores[steps, best[steps]].mean())


def whole(placement: Placement, score: float) -> Box:
    """The box around the whole picture."""
    return Box(0.0, 0.0, float(placement.width), float(placement.height), "", score)


def _lines(line: Line, options: PredictionOptions) -> Lines:
    if options.min_score is not None and line.box.score < options.min_score:
        return Lines(())
    return Lines((line,))
