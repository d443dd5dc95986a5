"""What a task is, and how its rows come to the model."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from weir_inference.core.prediction import Prediction, PredictionInput, PredictionOptions
from weir_inference.core.tensors import ANY, Tensor, Tensors, TensorSpec
from weir_kit.errors import Internal, InvalidArgument

About = TypeVar("About", covariant=True)
Input = TypeVar("Input", bound=PredictionInput, contravariant=True)
Taken = TypeVar("Taken", bound=PredictionInput)


class Run(Protocol):
    """A call of a model, with the priority and deadline of the request that it is for."""

    async def __call__(
        self, inputs: Tensors, outputs: Collection[str], file: str | None = None
    ) -> Tensors:
        """The `outputs` for `inputs`; of the folder's other model `file`, such as the ranker."""
        ...


class Signature(Protocol):
    """What a loaded model takes and gives; a `TensorEngine` has one."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...


class Task(Protocol):
    """A model's use: typed items in, a prediction for each out."""

    @property
    def kinds(self) -> tuple[type[PredictionInput], ...]:
        """The inputs that it takes."""
        ...

    async def predict(
        self, run: Run, asked: PredictionInput, options: PredictionOptions
    ) -> list[Prediction]:
        """A prediction for each item, in order.

        Raises `InvalidArgument` naming the item at fault, such as `input.pictures[3]`, and what
        `run` raises.
        """
        ...


@dataclass(frozen=True)
class Rows(Generic[About]):
    """Inputs whose first dimension is rows, and what must be known of each to read its answer."""

    inputs: Tensors
    about: Sequence[About]


class Encoder(Protocol[Input, About]):
    """Turns items into a model's inputs."""

    def rows(self, asked: Input) -> AsyncIterator[Rows[About]]:
        """All items in order, a row each, in parts whose memory is bounded.

        Raises `InvalidArgument` naming the item at fault.
        """
        ...


def taken(asked: PredictionInput, kind: type[Taken], called: str) -> Taken:
    """The input, which must be of a kind. Raises `InvalidArgument`."""
    if not isinstance(asked, kind):
        raise InvalidArgument(f"this model takes {called}", field="input")
    return asked


async def run_rows(
    run: Run, signature: Signature, inputs: Tensors, outputs: Sequence[str]
) -> list[Tensor]:
    """The outputs for all rows: at once where the model batches, else row by row.

    Raises `Internal` where the model gives another number of rows than it got.
    """
    n_rows = next(iter(inputs.values())).shape[0]
    if batches(signature):
        results = [await run(inputs, outputs)]
    else:
        results = [
            await run({name: one[i : i + 1] for name, one in inputs.items()}, outputs)
            for i in range(n_rows)
        ]
    answers = []
    for name in outputs:
        parts = [result[name] for result in results]
        answer = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if not answer.shape or answer.shape[0] != n_rows:
            raise Internal("the model answered with another number of rows than it was given")
        answers.append(answer)
    return answers


def batches(signature: Signature) -> bool:
    """Whether all inputs may have any number of rows."""
    return all(spec.shape and spec.shape[0] == ANY for spec in signature.inputs)
