"""Telling who watches what is served."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass

from weir_inference.core.engine import ModelDescription
from weir_kit.errors import Unavailable

WATCHERS_MAX = 64
CHANGES_MAX = 1024  # that a watcher may be behind


@dataclass(frozen=True)
class Change:
    """A version is served from now on, or no longer."""

    model: ModelDescription
    served: bool


class ModelChanges:
    """Hands each change to all who watch. All methods belong to one event loop."""

    def __init__(self) -> None:
        self._watchers: set[asyncio.Queue[Change]] = set()

    def tell(self, change: Change) -> None:
        """Tell all; who is too far behind is told nothing more."""
        for queue in [*self._watchers]:
            if queue.full():
                self._watchers.discard(queue)
            else:
                queue.put_nowait(change)

    async def watch(self, now: Iterable[ModelDescription]) -> AsyncGenerator[Change, None]:
        """What is served `now`, then every change. Raises `Unavailable` for who falls behind."""
        if len(self._watchers) >= WATCHERS_MAX:
            raise Unavailable(f"{WATCHERS_MAX} watch already")
        queue: asyncio.Queue[Change] = asyncio.Queue(CHANGES_MAX)
        self._watchers.add(queue)
        try:
            for model in [*now]:
                yield Change(model, served=True)
            while queue in self._watchers:
                yield await queue.get()
            raise Unavailable("the watcher fell behind")
        finally:
            self._watchers.discard(queue)
