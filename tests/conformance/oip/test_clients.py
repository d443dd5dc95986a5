"""The clients that people have work with Weir as they are."""

import os
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.timeout(1000)  # the first time, the clients are installed
@pytest.mark.parametrize("calls", ["triton_calls.py", "triton_aio_calls.py", "kserve_calls.py"])
def test_an_unmodified_client_does_all_of(
    calls: str, clients_python: Path, server_address: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [
            *(str(clients_python), "-m", "pytest", str(HERE / calls), "--noconftest", "-q"),
            *("--rootdir", str(tmp_path), "-c", os.devnull, "-p", "no:cacheprovider"),
        ],
        env={**os.environ, "OIP_ADDRESS": server_address},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
