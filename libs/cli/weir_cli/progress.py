"""What a person sees of what takes time: on stderr, so that stdout stays a command's answer."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress as Bars
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

WORTH_A_LINE_S = 1.0


class Progress:
    """Steps, maybe side by side: spinners on a terminal, a line for each longer one elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Bars | None = None
        self._open = 0

    def say(self, line: str) -> None:
        """One line, above whatever spins."""
        self._console.print(f"[dim]weir:[/] {escape(line)}", highlight=False, soft_wrap=True)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Something that takes time."""
        started_s = time.monotonic()
        bars = self._enter()
        task = bars.add_task(what, total=1) if bars else None
        try:
            yield
        except BaseException:
            if bars and task is not None:
                bars.remove_task(task)
            raise
        else:
            took_s = time.monotonic() - started_s
            if bars and task is not None:
                bars.remove_task(task)
            if bars or took_s >= WORTH_A_LINE_S:
                self._console.print(f"[green]✓[/] {escape(what)} [dim]{took_s:.1f} s[/]")
        finally:
            self._leave()

    def _enter(self) -> Bars | None:
        if not self._console.is_terminal:
            return None
        if self._open == 0:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            self._bars = Bars(*columns, console=self._console, transient=True)
            self._bars.start()
        self._open += 1
        return self._bars

    def _leave(self) -> None:
        if self._bars is None:
            return
        self._open -= 1
        if self._open == 0:
            self._bars.stop()
            self._bars = None
