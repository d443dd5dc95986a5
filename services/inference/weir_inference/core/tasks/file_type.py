"""What kind of file some bytes are, as Magika tells it (Fratantonio et al. 2024)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weir_inference.core.prediction import (
    Blobs,
    Classes,
    Prediction,
    PredictionInput,
    PredictionOptions,
    ScoredClass,
)
from weir_inference.core.processing import Activation, Postprocess
from weir_inference.core.tasks.scores import activated, top_classes
from weir_inference.core.tasks.task import Encoder, Run, Signature, run_rows, taken

EMPTY, TEXT, UNKNOWN = "empty", "txt", "unknown"


@dataclass(frozen=True)
class FileTypes:
    """The model's classes and when they are believed.

    A class below its own threshold, or below `threshold`, is told as text or unknown, whichever it
    is: `texts` are the classes of text. `renamed` are classes that are told by another name.
    """

    labels: Sequence[str]
    texts: frozenset[str]
    threshold: float
    thresholds: Mapping[str, float]
    renamed: Mapping[str, str]


@dataclass(frozen=True)
class FileType:
    """A `Task` over one output [rows, labels].

    The encoder's `about` is None, or the label of a blob that is too small to be looked at.
    """

    encoder: Encoder[Blobs, str | None]
    signature: Signature
    output: str
    types: FileTypes
    postprocess: Postprocess

    @property
    def kinds(self) -> tuple[type[PredictionInput], ...]:
        return (Blobs,)

    async def predict(
        self, run: Run, asked: PredictionInput, options: PredictionOptions
    ) -> list[Prediction]:
        """`Classes` of every blob: that which is believed, and after it the model's others."""
        activation = self.postprocess.activation or Activation.NONE
        predictions: list[Prediction] = []
        async for rows in self.encoder.rows(taken(asked, Blobs, "blobs")):
            for i, label in enumerate(rows.about):
                if label is not None:
                    predictions.append(Classes((ScoredClass(label, 1.0),)))
                    continue
                # Row by row: together Magika's rows change each other's scores by up to 0.004,
                # and it is no faster.
                row = {name: tensor[i : i + 1] for name, tensor in rows.inputs.items()}
                (numbers,) = await run_rows(run, self.signature, row, (self.output,))
                scores = activated(numbers[0], activation)
                found = top_classes(scores, self.types.labels, options, self.postprocess)
                predictions.append(believed(found, self.types))
        return predictions


def believed(found: Classes, types: FileTypes) -> Classes:
    """The first class by the name that it is told by; the others keep theirs, none told twice."""
    if not found.classes:
        return found
    first, *others = found.classes
    name = types.renamed.get(first.label, first.label)
    if first.score < types.thresholds.get(first.label, types.threshold):
        name = TEXT if name in types.texts or name == TEXT else UNKNOWN
    kept = (one for one in others if one.label != name)
    return Classes((ScoredClass(name, first.score), *kept))
