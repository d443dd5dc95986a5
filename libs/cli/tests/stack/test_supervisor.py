import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from weir_cli.failure import Failure
from weir_cli.stack import supervisor as supervisors
from weir_cli.stack.program import Program
from weir_cli.stack.supervisor import Supervisor

SLEEPER = (sys.executable, "-S", "-c", "import time; print('up', flush=True); time.sleep(600)")
STUBBORN = (
    sys.executable,
    "-S",
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); "
    "print('up', flush=True); time.sleep(600)",
)
QUITTER = (sys.executable, "-S", "-c", "print('no luck', flush=True); raise SystemExit(3)")


def a_program(
    folder: Path, command: tuple[str, ...], name: str = "sleeper", **more: object
) -> Program:
    log = folder / f"{name}.log"

    async def answers() -> bool:
        return b"up" in log.read_bytes()

    return Program(name=name, command=command, log=log, answers=answers, **more)  # type: ignore[arg-type]


async def until(condition: Callable[[], bool], within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_what_is_killed_is_started_again(tmp_path: Path) -> None:
    said: list[str] = []
    async with Supervisor(lambda: None, said.append) as supervisor:
        await supervisor.start(a_program(tmp_path, SLEEPER))
        first = supervisor.processes[0].pid
        os.kill(first, signal.SIGKILL)
        await until(lambda: said[-1:] == ["sleeper answers again"])
        second = supervisor.processes[0].pid
        assert second != first and runs(second)
        await supervisor.stop(["sleeper"])
        assert not runs(second)
    assert said[0] == "sleeper was ended by SIGKILL; starting it again"


async def test_a_crash_loop_ends_with_a_message_and_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisors, "BACK_OFF_FIRST_S", 0.001)
    starts: list[int] = []
    with pytest.raises(ExceptionGroup) as caught:
        async with Supervisor(lambda: starts.append(1), lambda _: None) as supervisor:
            (tmp_path / "quitter.log").write_text("up")
            await supervisor.start(a_program(tmp_path, QUITTER, "quitter"))
            await asyncio.Event().wait()
    failure = caught.value.exceptions[0]
    assert isinstance(failure, Failure)
    assert "quitter ended 6 times within 60 s" in str(failure)
    assert "exit code 3" in str(failure) and "no luck" in str(failure)
    assert len(starts) == 6


async def test_a_program_that_ends_at_its_start_fails_the_start(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with Supervisor(lambda: None, lambda _: None) as supervisor:
            await supervisor.start(a_program(tmp_path, QUITTER, "quitter"))
    assert "quitter ended with exit code 3 at its start" in str(caught.value.exceptions[0])


async def test_a_program_that_does_not_answer_in_time_fails_the_start(tmp_path: Path) -> None:
    silent = (sys.executable, "-S", "-c", "import time; time.sleep(600)")
    with pytest.raises(ExceptionGroup) as caught:
        async with Supervisor(lambda: None, lambda _: None) as supervisor:
            try:
                await supervisor.start(a_program(tmp_path, silent, ready_timeout_s=0.2))
            finally:
                pid = supervisor.processes[0].pid
                await supervisor.stop(["sleeper"])
    assert "did not answer within" in str(caught.value.exceptions[0])
    assert not runs(pid)


async def test_a_program_that_ignores_the_request_to_stop_is_stopped_by_force(
    tmp_path: Path,
) -> None:
    async with Supervisor(lambda: None, lambda _: None) as supervisor:
        await supervisor.start(a_program(tmp_path, STUBBORN, stop_timeout_s=0.2))
        pid = supervisor.processes[0].pid
        await supervisor.stop(["sleeper"])
        assert not runs(pid)


async def test_programs_stop_in_the_order_asked_for(tmp_path: Path) -> None:
    ended: list[str] = []
    async with Supervisor(lambda: None, lambda _: None) as supervisor:
        for name in ("database", "gateway"):
            await supervisor.start(a_program(tmp_path, SLEEPER, name))
        running = {one.program.name: one for one in supervisor.processes}
        watchers = [
            asyncio.create_task(_note(running[name].ended(), name, ended)) for name in running
        ]
        await supervisor.stop(["gateway", "database"])
        await asyncio.gather(*watchers)
    assert ended == ["gateway", "database"]


async def _note(ended: object, name: str, names: list[str]) -> None:
    await ended  # type: ignore[misc]
    names.append(name)


PARENT = """
import asyncio, sys
from pathlib import Path
from weir_cli.stack.program import Program, start
async def answers(): return True
async def main():
    command = (sys.executable, "-S", "-c", "import time; time.sleep(600)")
    running = await start(Program("child", command, Path(sys.argv[1]), answers))
    print(running.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout:
        child = int(parent.stdout.readline())
    assert runs(child)
    parent.kill()
    parent.wait(10)
    until_s = time.monotonic() + 10
    while runs(child):
        assert time.monotonic() < until_s, "the child outlived its parent"
        os.sched_yield()
