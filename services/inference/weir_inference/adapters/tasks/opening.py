"""What a pipeline is built from, and whether the model's tensors and labels are what it needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from weir_inference.adapters.repository.bad_model_folder import BadModelFolder
from weir_inference.core.model_spec import ModelSpec
from weir_inference.core.tasks.task import Signature
from weir_inference.core.tensors import ANY, Datatype, TensorSpec

FLOATS = (Datatype.FP32, Datatype.FP16, Datatype.BF16, Datatype.FP64)
WHOLE = (Datatype.INT64, Datatype.INT32)
LABELS_MAX = 100_000


@dataclass(frozen=True)
class Opening:
    """A version's folder and spec, and its loaded models."""

    folder: Path
    spec: ModelSpec
    model: Signature
    ranker: Signature | None


def only_input(at: Opening) -> TensorSpec:
    if len(at.model.inputs) != 1:
        names = ", ".join(spec.name for spec in at.model.inputs)
        raise fault(f"file: for {at.spec.task} it must have one input, not {names}")
    return at.model.inputs[0]


def class_output(at: Opening, labels: Sequence[str]) -> str:
    """Scores of the labels; of two labels a model may give the second's only."""
    n = len(labels)

    def fits(spec: TensorSpec) -> bool:
        return ends(spec, 2, n) or (n == 2 and (len(spec.shape) == 1 or ends(spec, 2, 1)))

    return output_of(at, f"[rows, {n}], one for each of the labels", fits)


def output_of(at: Opening, told: str, fits: Callable[[TensorSpec], bool]) -> str:
    """The first output of floating numbers that fits."""
    for spec in at.model.outputs:
        if spec.datatype in FLOATS and fits(spec):
            return spec.name
    found = ", ".join(f"{spec.name} {[*spec.shape]}" for spec in at.model.outputs)
    raise fault(f"file: for {at.spec.task} it must give floating numbers {told}; it gives {found}")


def ends(spec: TensorSpec, n_dims: int, size: int) -> bool:
    return len(spec.shape) == n_dims and spec.shape[-1] in (ANY, size)


def labels_of(at: Opening) -> Sequence[str]:
    """Of the spec, or one a line of its file: a space is a label too, of models that read."""
    if at.spec.labels:
        return at.spec.labels
    if at.spec.labels_file is None:
        raise fault("labels must be given, a list or the name of a file with one a line")
    name = at.spec.labels_file
    try:
        lines = (at.folder / name).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadModelFolder("is not readable as UTF-8 text", name) from error
    labels = [line.removesuffix("\r") for line in lines[: len(lines) - (not lines[-1])]]
    if not 1 <= len(labels) <= LABELS_MAX or "" in labels:
        raise BadModelFolder(f"must hold 1..{LABELS_MAX} labels, one a line", name)
    return labels


def fault(told: str) -> BadModelFolder:
    return BadModelFolder(f"model.yaml: {told}")
