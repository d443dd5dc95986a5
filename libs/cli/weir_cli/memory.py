"""How much memory processes take."""

from collections.abc import Iterable
from contextlib import suppress

import psutil

BYTES_PER_MB = 1024 * 1024


def of_tree(pid: int) -> int:
    """Bytes of a process and all its descendants; 0 if it is gone.

    Pages that processes share (PostgreSQL's buffers, libraries) are split among them where the
    system tells (PSS, on Linux), so that a sum counts them once; elsewhere this is resident memory.
    """
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(_of(one) for one in family)


def megabytes(pids: Iterable[int]) -> float:
    """The sum over process trees that do not overlap."""
    return round(sum(of_tree(pid) for pid in pids) / BYTES_PER_MB, 1)


def _of(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        try:
            return int(process.memory_full_info().pss)
        except (AttributeError, psutil.AccessDenied):
            return int(process.memory_info().rss)
    return 0
