"""An environment with the clients of the Open Inference Protocol.

Clients and our contracts have descriptors of their own for the same messages, which one process
cannot hold; and the clients want an older protobuf than ours. So they get a virtual environment.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = ROOT / "tests" / "conformance" / "oip" / "clients.txt"
INSTALL_TIMEOUT_S = 900


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
