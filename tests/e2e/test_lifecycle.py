"""Starts and ends: what is kept, and that nothing is left behind."""

import signal
import time
from pathlib import Path
from typing import Any

import psutil

STOP_TIMEOUT_S = 40


def processes_of(home: Path) -> list[psutil.Process]:
    """Every living process of the stack, PostgreSQL's and Redis' among them."""
    return [process for process in psutil.process_iter() if belongs_to(process, home)]


def belongs_to(process: psutil.Process, home: Path) -> bool:
    """Whether it has this home, or works in it: PostgreSQL overwrites its environment."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE and (
            process.environ().get("WEIR_HOME") == str(home)
            or Path(process.cwd()).is_relative_to(home)
        )
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def gone(home: Path, within_s: float) -> bool:
    _, alive = psutil.wait_procs(processes_of(home), timeout=within_s)
    return not alive and not processes_of(home)


def test_a_killed_stack_and_a_stopped_one_leave_nothing_behind_and_keep_the_ledger(
    new_home: Path, started: Any
) -> None:
    with started(new_home) as first:
        names = {process.name() for process in processes_of(new_home)}
        assert "postgres" in names and "redis-server" in names
        first.openai().chat.completions.create(**first.body("Hello", max_tokens=4))
        first.weir_json("billing", "credit", "5")
        balance = first.weir_json("billing", "balance")
        entries = first.weir_json("billing", "statement", "--limit", "1000")
        second_up = first.weir("up", "--http-port", "0", "--grpc-port", "0")
        assert second_up.returncode == 1
        assert "a stack runs already in" in second_up.stderr
        assert "Traceback" not in second_up.stderr
        first.process.kill()
        assert gone(new_home, 10), "children outlive a killed `weir up`"

    started_at_s = time.monotonic()
    with started(new_home) as second:
        assert time.monotonic() - started_at_s < 15
        assert second.api_key == first.api_key
        assert second.weir_json("billing", "balance") == balance
        assert second.weir_json("billing", "statement", "--limit", "1000") == entries
        second.openai().chat.completions.create(**second.body("Hello", max_tokens=4))
        assert second.weir_json("billing", "verify")["ok"]
        second.process.send_signal(signal.SIGINT)
        assert second.process.wait(STOP_TIMEOUT_S) == 0
        assert processes_of(new_home) == []
        after = second.weir("billing", "balance")
        assert after.returncode == 1 and "no stack runs in" in after.stderr
