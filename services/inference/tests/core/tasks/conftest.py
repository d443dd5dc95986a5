"""Encoders and models that do what the test says."""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Any

import pytest

from weir_inference.core.tasks.task import Rows
from weir_inference.core.tensors import ANY, Datatype, Tensor, Tensors, TensorSpec


class FakeModel:
    """A `Signature` and a `Run` of one input `x`; keeps what it was given."""

    def __init__(self, compute: Callable[[Tensors], Tensors], n_rows: int = ANY) -> None:
        self.compute = compute
        self.inputs = (TensorSpec("x", Datatype.FP32, (n_rows, ANY)),)
        self.outputs: tuple[TensorSpec, ...] = ()
        self.calls: list[Tensors] = []

    async def __call__(
        self, inputs: Tensors, outputs: Collection[str], file: str | None = None
    ) -> Tensors:
        self.calls.append(inputs)
        computed = self.compute(inputs)
        return {name: computed[name] for name in outputs}


class FakeEncoder:
    """Gives `x`, row by row from `tensor`, in parts of `n_a_part`."""

    def __init__(self, tensor: Tensor, about: Sequence[Any], n_a_part: int = 2) -> None:
        self.tensor, self.about, self.n = tensor, about, n_a_part

    async def rows(self, asked: Any) -> AsyncIterator[Rows[Any]]:
        for i in range(0, len(self.about), self.n):
            yield Rows({"x": self.tensor[i : i + self.n]}, self.about[i : i + self.n])


@pytest.fixture
def fake_model() -> type[FakeModel]:
    return FakeModel


@pytest.fixture
def fake_encoder() -> type[FakeEncoder]:
    return FakeEncoder
