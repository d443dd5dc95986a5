"""What a running stack says about itself, in `$WEIR_HOME/run/stack.json`."""

import dataclasses
import json
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil

from weir_cli.failure import Failure
from weir_cli.stack.home import Home
from weir_cli.stack.program import created_at_s

LEFTOVER_TIMEOUT_S = 10


@dataclass(frozen=True)
class ProcessState:
    """One process; pid and creation time together are its identity."""

    name: str
    pid: int
    created_at_s: float
    services: tuple[str, ...]


@dataclass(frozen=True)
class StackState:
    """A stack: where it listens, and its processes."""

    mode: str
    http_url: str
    grpc_address: str
    model: str
    addresses: Mapping[str, str]
    supervisor: ProcessState
    processes: tuple[ProcessState, ...]
    ready: bool


def write(home: Home, state: StackState) -> None:
    """Write it whole or not at all."""
    new = home.state.with_suffix(".new")
    new.write_text(json.dumps(dataclasses.asdict(state), indent=2) + "\n")
    new.replace(home.state)


def read(home: Home) -> StackState | None:
    """What is written; None if nothing is, or another version of Weir wrote it."""
    try:
        fields = json.loads(home.state.read_text())
        return StackState(
            **{
                **fields,
                "supervisor": _process(fields["supervisor"]),
                "processes": tuple(_process(process) for process in fields["processes"]),
            }
        )
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def running(home: Home) -> StackState | None:
    """The stack that runs and is ready, if one is."""
    state = read(home) if home.locked() else None
    return state if state and state.ready else None


def required(home: Home) -> StackState:
    """The stack that runs. Raises `Failure` if none does."""
    state = running(home)
    if state:
        return state
    if home.locked():
        raise Failure(f"the stack in {home.folder} is still starting; try again in a moment")
    raise Failure(f"no stack runs in {home.folder}; start one with `weir up`")


def end_leftovers(home: Home) -> list[str]:
    """End what an earlier stack left running when it was killed; the names of what was ended.

    Only call it while holding the home's lock: then no living stack owns these processes.
    """
    state = read(home)
    left = [process for process in state.processes if _lives(process)] if state else []
    for process in left:
        with suppress(psutil.NoSuchProcess):  # it may be ending by itself
            _end(psutil.Process(process.pid), process.name)
    home.state.unlink(missing_ok=True)
    return [process.name for process in left]


def _end(leftover: psutil.Process, name: str) -> None:
    # PostgreSQL takes SIGINT as "write a checkpoint and end"; the others lose nothing.
    leftover.send_signal(signal.SIGINT if name == "postgres" else signal.SIGKILL)
    try:
        leftover.wait(LEFTOVER_TIMEOUT_S)
    except psutil.TimeoutExpired:
        leftover.kill()


def _lives(process: ProcessState) -> bool:
    return process.created_at_s > 0 and created_at_s(process.pid) == process.created_at_s


def _process(fields: Mapping[str, object]) -> ProcessState:
    services = fields["services"]
    assert isinstance(services, list)
    return ProcessState(**{**fields, "services": tuple(services)})  # type: ignore[arg-type]
