"""Whether the tensors that a `model.yaml` names are those of the model."""

from collections.abc import Sequence

from weir_inference.core.model_spec import DOCUMENT
from weir_inference.core.tensors import ANY, TensorSpec
from weir_kit.errors import InvalidArgument

NAMED_MAX = 8


def check_signature(key: str, wanted: Sequence[TensorSpec], found: Sequence[TensorSpec]) -> None:
    """Raises `InvalidArgument` where tensors that the spec names under `key` are not the model's.

    A size that is `ANY` on one side fits all on the other.
    """
    of_model = {tensor.name: tensor for tensor in found}
    for i, tensor in enumerate(wanted):
        model = of_model.get(tensor.name)
        at = f"{key}[{i}]"
        if model is None:
            names = ", ".join(sorted(of_model)[:NAMED_MAX])
            raise _fault(f"{at}.name", f"is {tensor.name}, and the model has {names}")
        if tensor.datatype != model.datatype:
            raise _fault(f"{at}.datatype", f"is {tensor.datatype}, the model's is {model.datatype}")
        fits = len(tensor.shape) == len(model.shape) and all(
            a == b or ANY in (a, b) for a, b in zip(tensor.shape, model.shape, strict=True)
        )
        if not fits:
            raise _fault(f"{at}.shape", f"is {[*tensor.shape]}, the model's is {[*model.shape]}")
    if missing := of_model.keys() - {tensor.name for tensor in wanted}:
        raise _fault(key, f"leaves out {', '.join(sorted(missing))}, which the model has")


def _fault(path: str, told: str) -> InvalidArgument:
    return InvalidArgument(f"{DOCUMENT}: {path} {told}", field=path)
