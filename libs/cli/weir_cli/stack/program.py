"""One program of the stack: what to run, and its running process."""

import asyncio
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from weir_cli.failure import Failure

TETHER = Path(__file__).with_name("tether.py")
POLL_S = 0.05
LOG_LINES_SHOWN = 6


@dataclass(frozen=True)
class Program:
    """What to run and how to know that it answers.

    `services` are the Weir services in it and `address` is their gRPC address; both are empty for
    PostgreSQL and Redis. `death_signal` is what the kernel sends it if we die.
    """

    name: str
    command: tuple[str, ...]
    log: Path
    answers: Callable[[], Awaitable[bool]]
    environment: Mapping[str, str] = field(default_factory=dict)
    services: tuple[str, ...] = ()
    address: str = ""
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    stop_timeout_s: float = 15
    ready_timeout_s: float = 90


class Running:
    """A program's process, from its start to its end."""

    def __init__(self, program: Program, process: asyncio.subprocess.Process) -> None:
        self.program = program
        self._process = process
        self.pid = process.pid
        self.created_at_s = created_at_s(process.pid)

    async def ended(self) -> int:
        """Wait for the end; the exit code, or minus the signal that ended it."""
        return await self._process.wait()

    async def ready(self) -> None:
        """Wait until the program answers. Raises `Failure` if it ends before, or takes too long."""
        program = self.program
        until_s = time.monotonic() + program.ready_timeout_s
        while not await program.answers():
            if self._process.returncode is not None:
                raise Failure(
                    f"{program.name} {how_it_ended(self._process.returncode)} at its start. "
                    + last_lines(program.log)
                )
            if time.monotonic() > until_s:
                raise Failure(
                    f"{program.name} did not answer within {program.ready_timeout_s:.0f} s. "
                    + last_lines(program.log)
                )
            await asyncio.sleep(POLL_S)

    async def stop(self) -> None:
        """End it: its own way first, by force after `stop_timeout_s`; then what it left behind."""
        if self._process.returncode is None:
            self._process.send_signal(self.program.stop_signal)
            try:
                await asyncio.wait_for(self._process.wait(), self.program.stop_timeout_s)
            except TimeoutError:
                self.kill()
                await self._process.wait()
        self.kill()

    def kill(self) -> None:
        """End the whole process group at once."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


async def start(program: Program) -> Running:
    """Start a program in its own session, tied to our life, its output in its log.

    Call it from the main thread: the tie is to the thread that starts the process.
    """
    with program.log.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *tethered(program.command, program.death_signal, program.user),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **program.environment},
            start_new_session=True,  # Ctrl-C in the terminal reaches us alone; we stop in order
        )
    return Running(program, process)


def tethered(
    command: tuple[str, ...], death_signal: signal.Signals, user: str | None
) -> tuple[str, ...]:
    """The command that first ties itself to this process and takes the user's identity."""
    return (
        *(sys.executable, "-I", "-S", str(TETHER)),
        *(str(os.getpid()), str(int(death_signal)), user or "-"),
        *command,
    )


def created_at_s(pid: int) -> float:
    """When a process was made: with its pid, its identity. 0 if it is gone."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def last_lines(log: Path) -> str:
    """The end of a log, for a message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            lines = deque(file.read().decode(errors="replace").splitlines(), LOG_LINES_SHOWN)
    except FileNotFoundError:
        lines = deque()
    return f"Its log, {log}, ends with:\n" + "\n".join(f"  {line}" for line in lines)
