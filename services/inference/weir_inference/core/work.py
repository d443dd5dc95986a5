"""What a call of a model that answers in one piece took."""

from dataclasses import dataclass

from weir_inference.core.tensor_engine import InferResult

MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class Work:
    """`items` looked at, or rows; `compute_us` is the call's share, by rows, of its batches."""

    items: int = 0
    compute_us: int = 0


def share_us(result: InferResult, rows: int) -> int:
    """The share that `rows` have in the computing of their batch, in microseconds."""
    return round(MICROSECONDS * result.compute_s * min(1.0, rows / max(1, result.batch_rows)))
