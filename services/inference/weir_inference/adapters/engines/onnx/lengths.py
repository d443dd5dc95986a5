"""Text inputs lengthened to few lengths, and outputs cut back.

Of every new shape onnxruntime plans anew, and only calls of one shape can be computed together.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

import numpy as np

from weir_inference.adapters.engines.onnx.onnx_model import BadOnnxModel, OnnxModel
from weir_inference.core.tensors import ANY, Tensor, Tensors
from weir_kit.errors import InvalidArgument


class Lengths:
    """The lengths of a model's padded inputs: their second dimension.

    Outputs whose second dimension has the same name in the model are cut to what came in.

    Raises `BadOnnxModel` where the model has no such inputs.
    """

    def __init__(
        self,
        model: OnnxModel,
        buckets: Sequence[int],
        padding: Mapping[str, int | float | bytes],
    ) -> None:
        self._buckets = buckets
        self._padding = padding
        shapes = {one.name: one.shape for one in model.inputs}
        for name in padding:
            shape = shapes.get(name, ())
            if len(shape) < 2 or shape[1] != ANY:
                raise BadOnnxModel(f"padding names {name!r}: not an input of any second dimension")
        symbols = {model.symbols[name][1] for name in padding} - {""}
        self._cut = [
            one.name for one in model.outputs if set(model.symbols[one.name][1:2]) & symbols
        ]

    def padded(self, inputs: Tensors) -> tuple[Tensors, int]:
        """Inputs of a bucket's length, and the length that they had.

        Raises `InvalidArgument` for lengths that differ among them, or beyond the last bucket.
        """
        lengths = {name: inputs[name].shape[1] for name in self._padding}
        first, length = next(iter(lengths.items()))
        for name, other in lengths.items():
            if other != length:
                raise InvalidArgument(
                    f"input {name!r} has length {other}, input {first!r} has {length}; "
                    "they must have the same",
                    field=f"inputs.{name}",
                )
        place = bisect_left(self._buckets, length)
        if place == len(self._buckets):
            raise InvalidArgument(
                f"input {first!r} has length {length}; this model takes up to {self._buckets[-1]}",
                field=f"inputs.{first}",
            )
        n_more = self._buckets[place] - length
        if n_more == 0:
            return inputs, length
        longer = {
            name: _lengthened(inputs[name], n_more, value) for name, value in self._padding.items()
        }
        return {**inputs, **longer}, length

    def cut(self, outputs: Tensors, length: int) -> Tensors:
        """Outputs without what comes of padding, as views."""
        if not self._cut:
            return outputs
        return {
            name: tensor[:, :length] if name in self._cut else tensor
            for name, tensor in outputs.items()
        }


def _lengthened(tensor: Tensor, n_more: int, value: int | float | bytes) -> Tensor:
    shape = (tensor.shape[0], n_more, *tensor.shape[2:])
    more = np.empty(shape, tensor.dtype)
    more[...] = value
    return np.concatenate([tensor, more], axis=1)
