"""How much of the machine others used while a contender ran: what a noisy number is known by."""

import os
import time
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class Disturbance:
    """From its making on: the cores kept busy by all but some processes, theft by the host too."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids
        self._since_s = time.monotonic()
        self._before_s = self._others_s()

    def cores(self) -> float:
        """Mean cores since then; ticks make it coarse over less than a second."""
        used_s = self._others_s() - self._before_s
        return max(0.0, used_s / (time.monotonic() - self._since_s))

    def _others_s(self) -> float:
        return busy_s() - sum(map(process_s, self._pids))


def busy_s() -> float:
    """CPU seconds since boot of all processors that were not idle: proc_stat(5)."""
    first = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0]
    user, nice, system, _idle, _iowait, *interrupts_and_steal = map(int, first.split()[1:9])
    return (user + nice + system + sum(interrupts_and_steal)) / TICKS_A_SECOND


def process_s(pid: int) -> float:
    """CPU seconds of a process and of its ended children: proc_pid_stat(5); nought once gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    after_name = text.rpartition(")")[2].split()
    return sum(map(int, after_name[11:15])) / TICKS_A_SECOND
