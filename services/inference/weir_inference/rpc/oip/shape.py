"""The shape of a tensor, as a message gives it."""

import math
from collections.abc import Sequence

from weir_inference.rpc.oip.refusal import refusal

DIMENSIONS_MAX = 32
# Far above what fits a message, far below where numpy's own numbers end: a tensor without elements
# may still have large sizes beside its 0.
ELEMENTS_MAX = 1 << 31


def shape_of(sizes: Sequence[int], field: str) -> tuple[int, ...]:
    """The shape. Raises `InvalidArgument` for `field`: too many sizes, or one negative or large."""
    if len(sizes) > DIMENSIONS_MAX:
        raise refusal(field, f"at most {DIMENSIONS_MAX} dimensions, not {len(sizes)}")
    shape = tuple(sizes)
    if min(shape, default=0) < 0:
        raise refusal(field, f"{list(shape)} has a negative size; data has real ones, 0 or more")
    if math.prod(max(size, 1) for size in shape) > ELEMENTS_MAX:
        raise refusal(field, f"{list(shape)} is too large: at most {ELEMENTS_MAX} elements")
    return shape
