"""Contenders that take turns: each in a process of its own, stopped while another one runs."""

import json
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.cells import Cell
from engine.contender import REPLY
from engine.disturbance import Disturbance
from engine.paths import PERFORMANCE, bench_home, bench_tools, python_of

SAMPLE_EVERY_S = 0.25
START_WITHIN_S = 420.0
RUN_WITHIN_S = 300.0
TURN_S = 1.0  # at least: a batch of a small model takes a tenth of that, and noise as long
LEAVE_WITHIN_S = 20.0


class Absent(Exception):
    """A contender cannot run here; the message says why."""


@dataclass(frozen=True)
class Turn:
    """Batches one after another, of one contender; the cores that others used meanwhile."""

    batches: list[dict[str, Any]]
    disturbed_cores: float

    @property
    def tok_s(self) -> float:
        """Output tokens a second, prefill included: the median batch."""
        return statistics.median(batch["tok_s"] for batch in self.batches)

    @property
    def ttft_p50_ms(self) -> float:
        """Of all rows of all batches."""
        return 1e3 * statistics.median(self._all("ttft_s"))

    @property
    def itl_p50_ms(self) -> float:
        """Between two tokens of a row."""
        return 1e3 * statistics.median(self._all("itl_s"))

    @property
    def itl_p99_ms(self) -> float:
        """Of all rows of all batches together."""
        return 1e3 * statistics.quantiles(self._all("itl_s"), n=100, method="inclusive")[98]

    def _all(self, what: str) -> list[float]:
        return [value for batch in self.batches for value in batch[what]]


@dataclass
class Contender:
    """A running engine. `peak_rss_mb` sums the high-water marks of its process tree."""

    name: str
    process: subprocess.Popen[bytes]
    errors: Path
    version: str = ""
    startup_s: float = 0.0
    tokens: list[int] = field(default_factory=list)
    peak_rss_mb: float = 0.0
    unread: bytes = b""

    @classmethod
    def start(cls, name: str, cell: Cell, model: Path, options: Namespace) -> "Contender":
        """Open it on a cell and let it warm up; raises `Absent`."""
        python = python_of(name)
        if not python.exists():
            raise Absent(f"not installed: no {python}")
        arguments = [name, "--model", str(model), "--batch", str(cell.batch)]
        arguments += ["--weights", cell.peer_weights, "--threads", str(options.threads)]
        if name == "weir":
            arguments += [f"--setting={one}" for one in (*cell.settings, *options.setting)]
        errors = Path(tempfile.mkstemp(prefix=f"bench-{name}-", suffix=".log")[1])
        with errors.open("wb") as error_file:
            process = subprocess.Popen(
                [python, "-m", "engine.contender", *arguments],
                env=environment_of(name, options),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=error_file,
                start_new_session=True,
            )
        self = cls(name, process, errors)
        try:
            ready = self._reply(START_WITHIN_S)
        except BaseException:
            self.leave()
            raise
        self.version, self.startup_s = str(ready["version"]), float(ready["startup_s"])
        self.tokens = ready["tokens"]
        self.pause()
        return self

    def turn(self) -> Turn:
        """Batches for a second or more, while all others stand still; raises `Absent`."""
        from engine_peer import tree_of

        disturbance = Disturbance(tree_of(self.process.pid))
        batches = []
        began_s = time.monotonic()
        try:
            os.killpg(self.process.pid, signal.SIGCONT)
            while not batches or time.monotonic() - began_s < TURN_S:
                self.process.stdin.write(b"run\n")
                self.process.stdin.flush()
                batches.append(self._reply(RUN_WITHIN_S))
            self.pause()
        except OSError:  # it is gone, and so is its pipe
            raise Absent(self._why()) from None
        return Turn(batches, disturbance.cores())

    def pause(self) -> None:
        """Stop its whole process group: no thread of it spins on another's turn."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def leave(self) -> None:
        """End it, gently first."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGCONT)
            self.process.stdin.close()
            try:
                self.process.wait(LEAVE_WITHIN_S)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.process.stdout.close()
        self.errors.unlink(missing_ok=True)

    def _reply(self, within_s: float) -> dict[str, object]:
        """The next reply on its stdout; its memory is watched meanwhile."""
        last_s = time.monotonic() + within_s
        while time.monotonic() < last_s:
            line, found, rest = self.unread.partition(b"\n")
            if found:
                self.unread = rest
                if line.startswith(REPLY.encode()):
                    self._watch()
                    return json.loads(line[len(REPLY) :])
                continue
            self._watch()
            if select.select([self.process.stdout], [], [], SAMPLE_EVERY_S)[0]:
                more = os.read(self.process.stdout.fileno(), 1 << 16)
                if not more:
                    raise Absent(self._why())
                self.unread += more
        raise Absent(f"no answer within {within_s:.0f} s")

    def _watch(self) -> None:
        from engine_peer import high_water_mb, tree_of

        now_mb = sum(high_water_mb(pid) for pid in tree_of(self.process.pid))
        self.peak_rss_mb = max(self.peak_rss_mb, now_mb)

    def _why(self) -> str:
        """The last error that it wrote, and how it ended."""
        status = self.process.wait(LEAVE_WITHIN_S)
        lines = self.errors.read_text(encoding="utf-8", errors="replace").splitlines()
        told = [line.strip() for line in lines if "Error" in line or "Exception" in line]
        last = (told or [line.strip() for line in lines if line.strip()] or ["it said nothing"])[-1]
        ended = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        return f"{last[:300]} ({ended})"


def environment_of(name: str, options: Namespace) -> dict[str, str]:
    """As `engine_peer.py` sets a peer's environment, with our modules to be found beside its."""
    from engine_peer import environment_of as common_of

    paths = [str(PERFORMANCE), str(bench_tools())]
    if name == "weir":
        paths += filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    peer = Namespace(peer=name, home=bench_home(), threads=options.threads)
    return (
        os.environ
        | common_of(peer, bench_home() / name / "cache")
        | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    )


def use_bench_tools() -> None:
    """Let `import engine_peer` find the shared tools."""
    sys.path.append(str(bench_tools()))
