"""Text classification, language id and image classification: the likeliest labels of an item."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from weir_inference.core.prediction import (
    Pictures,
    Prediction,
    PredictionInput,
    PredictionOptions,
    Texts,
)
from weir_inference.core.processing import Activation, Postprocess
from weir_inference.core.tasks.scores import top_classes, two_columns
from weir_inference.core.tasks.task import Encoder, Run, Signature, run_rows, taken

Seen = TypeVar("Seen", Texts, Pictures)


@dataclass(frozen=True)
class Classify(Generic[Seen]):
    """A `Task` over one output [rows, labels], or [rows, 1] for two labels."""

    kind: type[Seen]
    encoder: Encoder[Seen, object]
    signature: Signature
    output: str
    labels: Sequence[str]
    postprocess: Postprocess

    @property
    def kinds(self) -> tuple[type[PredictionInput], ...]:
        return (self.kind,)

    async def predict(
        self, run: Run, asked: PredictionInput, options: PredictionOptions
    ) -> list[Prediction]:
        """`Classes` of every item."""
        activation = self.postprocess.activation or Activation.SOFTMAX
        predictions: list[Prediction] = []
        async for rows in self.encoder.rows(taken(asked, self.kind, self.kind.__name__.lower())):
            (numbers,) = await run_rows(run, self.signature, rows.inputs, (self.output,))
            scores = two_columns(numbers.reshape(len(rows.about), -1), activation)
            predictions += [
                top_classes(row, self.labels, options, self.postprocess) for row in scores
            ]
        return predictions
