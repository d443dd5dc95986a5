"""Rerank: how well documents answer a query, read together with it."""

from dataclasses import dataclass

from weir_inference.core.prediction import (
    Prediction,
    PredictionInput,
    PredictionOptions,
    RerankQuery,
    Score,
)
from weir_inference.core.processing import Activation, Postprocess
from weir_inference.core.tasks.scores import activated
from weir_inference.core.tasks.task import Encoder, Run, Signature, run_rows, taken


@dataclass(frozen=True)
class Rerank:
    """A `Task` over one output [rows, 1], or [rows, 2] whose second number is for "answers"."""

    encoder: Encoder[RerankQuery, object]
    signature: Signature
    output: str
    postprocess: Postprocess

    @property
    def kinds(self) -> tuple[type[PredictionInput], ...]:
        return (RerankQuery,)

    async def predict(
        self, run: Run, asked: PredictionInput, options: PredictionOptions
    ) -> list[Prediction]:
        """`Score` of every document, in their order: whoever asked sorts them."""
        predictions: list[Prediction] = []
        async for rows in self.encoder.rows(taken(asked, RerankQuery, "rerank")):
            (numbers,) = await run_rows(run, self.signature, rows.inputs, (self.output,))
            numbers = numbers.reshape(len(rows.about), -1)
            usual = Activation.SIGMOID if numbers.shape[1] == 1 else Activation.SOFTMAX
            scores = activated(numbers, self.postprocess.activation or usual)[:, -1]
            predictions += [Score(float(score)) for score in scores]
        return predictions
