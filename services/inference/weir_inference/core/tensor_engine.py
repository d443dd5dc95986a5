"""The port to engines whose models take tensors and give tensors."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from weir_inference.core.request import Priority
from weir_inference.core.tensors import Tensors, TensorSpec


@dataclass(frozen=True)
class InferRequest:
    """One call of a model.

    `inputs` fit the model's specs (`check_inputs`). Of the model's outputs only those named by
    `outputs` are computed where it can choose; None is all. `deadline_s` is of the monotonic clock.
    """

    inputs: Tensors
    outputs: Collection[str] | None = None
    priority: Priority = Priority.NORMAL
    deadline_s: float | None = None


@dataclass(frozen=True)
class InferResult:
    """What came of a call, and where its time went.

    `queue_s` is the time before the call's batch began, `compute_s` that of the whole batch, which
    held `batch_rows` rows of all the calls in it.
    """

    outputs: Tensors
    queue_s: float
    compute_s: float
    batch_rows: int


@dataclass(frozen=True)
class TensorLoad:
    """How busy an engine is; from `requests` on, counted since its start."""

    queued_requests: int = 0
    queued_rows: int = 0
    running_batches: int = 0
    requests: int = 0
    batches: int = 0
    rows: int = 0
    failures: int = 0
    queue_s: float = 0.0
    compute_s: float = 0.0


class TensorEngine(Protocol):
    """One version of one model, loaded and warm."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What it takes. Where it batches, the first dimension of each is `ANY`."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What it gives."""
        ...

    async def infer(self, request: InferRequest) -> InferResult:
        """Compute, joined with other calls where that pays; dropped if cancelled while it waits.

        Raises `InvalidArgument` where the model refuses the inputs, `QueueFull`,
        `DeadlineExceeded`, `Unavailable` once it is closing, `Internal` where computing failed.
        """
        ...

    def load(self) -> TensorLoad:
        """How busy it is."""
        ...
