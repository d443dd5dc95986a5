"""Numbers with where and when they were measured: `results/*.json`."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from engine.paths import REPOSITORY

FLAGS = ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


@dataclass(frozen=True)
class Metric:
    """`ratio` is value over peer_value: the median of the rounds' own where there were rounds.

    A peer that could not run has no `peer_value` and no `ratio`; the note says why.
    """

    metric: str
    value: float
    unit: str
    peer_value: float | None = None
    ratio: float | None = None
    note: str = ""

    @classmethod
    def over(
        cls, metric: str, value: float, unit: str, peer_value: float, note: str = ""
    ) -> "Metric":
        """A value beside a peer's, of one sitting."""
        return cls(metric, value, unit, peer_value, value / peer_value, note)

    @classmethod
    def share(cls, metric: str, ratio: float, note: str) -> "Metric":
        """A number that is a ratio itself, of two of Weir's own."""
        return cls(metric, ratio, "ratio", None, ratio, note)


@dataclass(frozen=True)
class Sitting:
    """When, where and how numbers were measured."""

    date: str
    machine: dict[str, object]
    commit: str
    command: str

    @classmethod
    def now(cls, program: str) -> "Sitting":
        """This run of a program: `engine`."""
        return cls(
            date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
            machine=machine(),
            commit=commit(),
            command=shlex.join(["python", "-m", program, *sys.argv[1:]]),
        )


def machine() -> dict[str, object]:
    """The processor, its cores and vector extensions, and the memory."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    flags = set(re.search(r"^flags\s*: (.*)$", cpuinfo, re.MULTILINE)[1].split())
    total_kib = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1])
    return {
        "cpu": re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)[1],
        "cores": cpuinfo.count("processor\t"),
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_gib": round(total_kib / 2**20),
    }


def commit() -> str:
    """The commit that is checked out, `+changes` if the services or libraries differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(REPOSITORY), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    changed = git("status", "--porcelain", "--", "services", "libs")
    return git("rev-parse", "--short", "HEAD") + ("+changes" if changed else "")


def save(metrics: list[Metric], sitting: Sitting, file: Path) -> list[dict[str, object]]:
    """Put metrics into the file: those of the same name are replaced, all others stay."""
    entries = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    new = {one.metric: _entry(one, sitting) for one in metrics}
    kept = [entry for entry in entries if entry["metric"] not in new]
    merged = sorted([*kept, *new.values()], key=lambda entry: _natural(entry["metric"]))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(merged, indent=1) + "\n", encoding="utf-8")
    return merged


def _entry(metric: Metric, sitting: Sitting) -> dict[str, object]:
    rounded = {
        name: float(f"{value:.5g}") if isinstance(value, float) else value
        for name, value in asdict(metric).items()
    }
    return rounded | asdict(sitting)


def _natural(name: str) -> list[str]:
    """b8 before b32."""
    return [part.zfill(6) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
