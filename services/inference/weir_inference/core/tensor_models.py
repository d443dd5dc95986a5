"""The port to the models that take tensors: which there are, what they are, and calls of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from weir_inference.core.tensor_engine import InferRequest, InferResult, TensorLoad
from weir_inference.core.tensors import TensorSpec
from weir_inference.core.work import Work
from weir_kit.errors import InvalidArgument


@dataclass(frozen=True)
class InferCall:
    """A call of a model, as it came in; a `version` of "" is the default one.

    `request_id` is what the caller calls it, and may be empty.
    """

    admission_token: str
    request_id: str
    model: str
    version: str
    request: InferRequest


@dataclass(frozen=True)
class InferAnswer:
    """What came of a call: the version that answered, its result, and the work that it was."""

    version: str
    result: InferResult
    work: Work


@dataclass(frozen=True)
class TensorModel:
    """What a model is. `platform` is what runs it; `versions` are those that can be called."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class ModelState(StrEnum):
    """What a version in the repository is about; the values are Triton's."""

    READY = "READY"
    LOADING = "LOADING"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True)
class IndexEntry:
    """A version in the repository; `reason` says to people why it is not ready."""

    name: str
    version: str
    state: ModelState
    reason: str = ""


@dataclass(frozen=True)
class VersionStatistics:
    """What a version has done; `last_call_at_s` counts from 1970-01-01 UTC, 0 if none came."""

    name: str
    version: str
    load: TensorLoad
    last_call_at_s: float = 0.0


class TensorModels(Protocol):
    """The models of this process that take tensors, and who may call them."""

    def all_ready(self) -> bool:
        """Whether every model can be called."""
        ...

    def is_ready(self, model: str, version: str) -> bool:
        """Whether this one can be called; False where there is none."""
        ...

    def describe(self, model: str, version: str) -> TensorModel:
        """What a model is. Raises `ModelNotFound`."""
        ...

    async def infer(self, call: InferCall) -> InferAnswer:
        """Call a model.

        Raises `Unauthenticated` or `PermissionDenied` where the admission does not allow the call,
        `ModelNotFound`, what `check_inputs` and `check_outputs` raise, and what
        `TensorEngine.infer` says. The result has the outputs asked for, and may have more.
        """
        ...

    def index(self) -> Sequence[IndexEntry]:
        """All in the repository, in the order of names and versions."""
        ...

    async def load(self, model: str) -> None:
        """Load a model, or load it anew. Raises `ModelNotFound`, or what keeps it from loading."""
        ...

    async def unload(self, model: str) -> None:
        """Refuse new calls of a model, wait for those that run, free it. Raises `ModelNotFound`."""
        ...

    def statistics(self, model: str, version: str) -> Sequence[VersionStatistics]:
        """In the order of names and versions; "" is every model, or version.

        Raises `ModelNotFound`.
        """
        ...


def check_outputs(specs: Sequence[TensorSpec], names: Collection[str] | None) -> None:
    """Raises `InvalidArgument` for an output that is none; the field is `outputs.NAME`."""
    known = sorted(spec.name for spec in specs)
    for name in names or ():
        if name not in known:
            raise InvalidArgument(
                f"this model has no output {name!r}; it gives {known}", field=f"outputs.{name}"
            )
