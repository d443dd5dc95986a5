"""The server as a process."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
STOP_TIMEOUT_S = 10


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
