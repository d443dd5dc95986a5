"""Calls joined along their first dimension, and told apart again."""

from collections.abc import Sequence

import numpy as np

from weir_inference.core.tensors import Tensor, Tensors
from weir_kit.errors import InvalidArgument


def rows_of(inputs: Tensors) -> int:
    """Rows of a call. Raises `InvalidArgument` for none, or where its inputs differ in them."""
    (first, tensor), *others = inputs.items()
    rows: int = tensor.shape[0]
    if rows == 0:
        raise InvalidArgument(f"input {first!r} needs at least one row", field=f"inputs.{first}")
    for name, other in others:
        if other.shape[0] != rows:
            raise InvalidArgument(
                f"input {name!r} has {other.shape[0]} rows, input {first!r} has {rows}; "
                "all must have the same",
                field=f"inputs.{name}",
            )
    return rows


def joined(calls: Sequence[Tensors]) -> Tensors:
    """The inputs of several calls as those of one."""
    if len(calls) == 1:
        return calls[0]
    return {name: np.concatenate([call[name] for call in calls]) for name in calls[0]}


def shared_out(outputs: dict[str, Tensor], rows: Sequence[int]) -> list[dict[str, Tensor]]:
    """To each of the calls its rows, as views."""
    if len(rows) == 1:
        return [outputs]
    total = sum(rows)
    for name, tensor in outputs.items():
        assert tensor.shape[:1] == (total,), f"output {name!r} has a row for each"
    shares: list[dict[str, Tensor]] = []
    start = 0
    for n_rows in rows:
        end = start + n_rows
        shares.append({name: tensor[start:end] for name, tensor in outputs.items()})
        start = end
    return shares
