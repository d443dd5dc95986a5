import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from weir_cli.failure import Failure
from weir_cli.stack import state
from weir_cli.stack.home import Home, home_of
from weir_cli.stack.program import created_at_s
from weir_cli.stack.state import ProcessState, StackState


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make()
    return home


def a_state(*processes: ProcessState, ready: bool = True) -> StackState:
    return StackState(
        mode="embedded",
        http_url="http://127.0.0.1:8080",
        grpc_address="127.0.0.1:9090",
        model="weir-tales",
        addresses={"gateway": "127.0.0.1:9090"},
        supervisor=ProcessState("weir up", os.getpid(), created_at_s(os.getpid()), ()),
        processes=processes,
        ready=ready,
    )


def test_what_is_written_is_read_again(home: Home) -> None:
    written = a_state(
        ProcessState("redis", 1, 2.5, ()), ProcessState("services", 3, 4.5, ("policy",))
    )
    state.write(home, written)
    assert state.read(home) == written


def test_a_stack_runs_only_while_its_process_holds_the_home(home: Home) -> None:
    state.write(home, a_state())
    with home.lock():
        assert state.required(home) == a_state()
    with pytest.raises(Failure, match=r"no stack runs in .*; start one with `weir up`"):
        state.required(home)


def test_a_stack_that_is_still_starting_is_called_that(home: Home) -> None:
    state.write(home, a_state(ready=False))
    with home.lock(), pytest.raises(Failure, match="still starting"):
        state.required(home)


def test_a_second_stack_in_the_same_home_is_refused(home: Home) -> None:
    with home.lock(), pytest.raises(Failure, match="a stack runs already in"), home.lock():
        pass


def test_a_file_that_is_cut_off_or_of_another_version_is_no_state(home: Home) -> None:
    home.state.write_text('{"mode": "embed')
    assert state.read(home) is None
    home.state.write_text('{"mode": "embedded", "colour": "blue"}')
    assert state.read(home) is None


def test_leftovers_of_a_killed_stack_are_ended(home: Home) -> None:
    left = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    state.write(home, a_state(ProcessState("inference", left.pid, created_at_s(left.pid), ())))
    with home.lock():
        assert state.end_leftovers(home) == ["inference"]
    left.wait(10)  # psutil's wait may have taken the exit code before us
    assert not psutil.pid_exists(left.pid)
    assert state.read(home) is None


def test_a_leftover_that_ends_by_itself_meanwhile_is_no_fault(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait(10)
    monkeypatch.setattr(state, "_lives", lambda process: True)
    state.write(home, a_state(ProcessState("postgres", ended.pid, 1.0, ())))
    with home.lock():
        state.end_leftovers(home)
    assert state.read(home) is None


def test_a_process_that_only_has_an_old_pid_is_left_alone(home: Home) -> None:
    state.write(home, a_state(ProcessState("inference", os.getpid(), 12345.0, ())))
    with home.lock():
        assert state.end_leftovers(home) == []


def test_the_home_is_what_the_environment_names(tmp_path: Path) -> None:
    assert home_of({"WEIR_HOME": str(tmp_path)}).folder == tmp_path
    assert home_of({}).folder == Path.home() / ".weir"


def test_a_long_log_is_put_aside(home: Home) -> None:
    log = home.log("inference")
    log.write_bytes(b"x" * 9_000_000)
    assert not home.log("inference").exists()
    assert (home.logs / "inference.log.old").exists()
