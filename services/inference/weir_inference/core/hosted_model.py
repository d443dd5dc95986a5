"""A model version that is loaded: what answers for it, and who uses it."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from weir_inference.core.engine import Engine, ModelDescription
from weir_inference.core.model_versions import VersionKey
from weir_inference.core.served_models import ServedModel
from weir_inference.core.tasks.task import Task
from weir_inference.core.tensor_engine import TensorEngine


@dataclass(frozen=True)
class OpenedModel:
    """A version, loaded and warm: an `engine` that generates, or one that takes `tensors`.

    `task` turns typed inputs into tensors and back; None where the model takes tensors alone. What
    it needs `beside` is by file name.
    `aliases` are those that the version claims.
    """

    description: ModelDescription
    memory_mb: int
    aliases: tuple[str, ...] = ()
    engine: Engine | None = None
    tensors: TensorEngine | None = None
    beside: Mapping[str, TensorEngine] = field(default_factory=dict)
    task: Task | None = None


@dataclass
class HostedModel:
    """A version that is served, or drained. `closing` frees it."""

    key: VersionKey
    opened: OpenedModel
    closing: AsyncExitStack
    used_at_s: float
    called_at_s: float = 0.0  # since 1970-01-01 UTC
    n_users: int = 0
    unused: asyncio.Event = field(default_factory=asyncio.Event)
    # Where it generates: its names, once they are no longer served. Calls use those.
    withdrawn: list[ServedModel] = field(default_factory=list)

    async def drained(self) -> None:
        """Wait until no call uses it."""
        while self.n_users:
            self.unused.clear()
            await self.unused.wait()
        for served in self.withdrawn:
            await served.drained()
