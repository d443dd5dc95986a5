"""The server as a process, and an environment with the clients.

Clients and server have descriptors of their own for the same messages, which one process cannot
hold; and the clients want an older protobuf than ours. So they get a virtual environment.
"""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CLIENTS = HERE / "clients.txt"
INSTALL_TIMEOUT_S = 900
STOP_TIMEOUT_S = 10


@pytest.fixture(scope="session")
def clients_python() -> Path:
    """The Python of the clients' environment, made where `clients.txt` is new."""
    digest = hashlib.sha256(CLIENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = ROOT / ".make" / f"oip-clients-{digest}"
    python, made = folder / "bin" / "python", folder / "made"
    if not made.exists():
        run(sys.executable, "-m", "venv", "--clear", str(folder))
        run(str(python), "-m", "pip", "install", "-q", "-r", str(CLIENTS))
        made.touch()
    return python


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def server_address() -> Iterator[str]:
    """Where the server listens."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "server.py")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert address, "the server ended at once"
    yield address
    process.terminate()
    process.communicate(timeout=STOP_TIMEOUT_S)
    assert process.returncode == 0
