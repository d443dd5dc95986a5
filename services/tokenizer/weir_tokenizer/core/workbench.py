"""Where work is done: at once while it is small, in a thread where it would hold up the loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import ParamSpec, TypeVar

INLINE_US_MAX = 2000

P = ParamSpec("P")
T = TypeVar("T")


class Workbench:
    """Runs calls whose cost can be told beforehand; a hop to a thread costs about 100 µs itself."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def run(
        self, cost_us: float, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The call's result; `cost_us` is a guess at its time in microseconds."""
        if cost_us <= INLINE_US_MAX:
            return call(*args, **kwargs)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: call(*args, **kwargs))
