"""Keeps programs running: what ends is started again, until it ends too often."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable

from weir_cli.failure import Failure
from weir_cli.stack import program as programs
from weir_cli.stack.program import Program, Running, how_it_ended, last_lines

RESTARTS_MAX = 5
RESTARTS_WINDOW_S = 60.0
BACK_OFF_FIRST_S = 0.1
BACK_OFF_MAX_S = 5.0


class Supervisor:
    """The programs of one stack.

    Enter it as an async context; a crash loop ends the body with a `Failure` (in an exception
    group, as `asyncio.TaskGroup` does). `changed` is called whenever the set of processes changes,
    `say` with one line for people.
    """

    def __init__(self, changed: Callable[[], None], say: Callable[[str], None]) -> None:
        self._changed = changed
        self._say = say
        self._running: dict[str, Running] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._tasks = asyncio.TaskGroup()
        self._hurry = False

    async def __aenter__(self) -> "Supervisor":
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await self._tasks.__aexit__(*error)  # type: ignore[arg-type]

    @property
    def processes(self) -> list[Running]:
        """What runs now, in the order of first starts."""
        return list(self._running.values())

    async def start(self, program: Program) -> None:
        """Start a program, wait until it answers, and keep it running from then on."""
        running = await self._launch(program)
        await running.ready()
        self._keepers.append(self._tasks.create_task(self._keep(program)))

    async def stop(self, names: Iterable[str]) -> None:
        """End these programs, one after the other, in this order."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for name in names:
            running = self._running.pop(name, None)
            if running is not None:
                if self._hurry:
                    running.kill()
                await running.stop()
                self._changed()

    def hurry(self) -> None:
        """End everything at once: somebody asked twice."""
        self._hurry = True
        for running in self._running.values():
            running.kill()

    async def _launch(self, program: Program) -> Running:
        running = await programs.start(program)
        self._running[program.name] = running
        self._changed()
        return running

    async def _keep(self, program: Program) -> None:
        ends: deque[float] = deque(maxlen=RESTARTS_MAX)
        while True:
            code = await self._running[program.name].ended()
            self._running[program.name].kill()  # what it may have left in its group
            now_s = time.monotonic()
            if len(ends) == RESTARTS_MAX and now_s - ends[0] < RESTARTS_WINDOW_S:
                raise Failure(
                    f"{program.name} ended {RESTARTS_MAX + 1} times within "
                    f"{RESTARTS_WINDOW_S:.0f} s, the last time it {how_it_ended(code)}. "
                    + last_lines(program.log)
                )
            ends.append(now_s)
            self._say(f"{program.name} {how_it_ended(code)}; starting it again")
            await asyncio.sleep(_back_off_s(ends, now_s))
            running = await self._launch(program)
            try:
                await running.ready()
            except Failure:
                running.kill()  # one more end, counted above
            else:
                self._say(f"{program.name} answers again")


def _back_off_s(ends: deque[float], now_s: float) -> float:
    """Seconds to wait before the next start: doubling with each recent end."""
    recent = sum(now_s - end_s < RESTARTS_WINDOW_S for end_s in ends)
    return float(min(BACK_OFF_FIRST_S * 2 ** (recent - 1), BACK_OFF_MAX_S))
