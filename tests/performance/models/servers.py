"""The contenders as processes: Weir's inference service, MLServer and KServe's Python server."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from engine.paths import bench_home

from weir_contracts.oip.v2 import inference_pb2 as pb
from weir_contracts.oip.v2.inference_pb2_grpc import GRPCInferenceServiceStub
from weir_kit.admission import METADATA_KEY, Admission, AdmissionSigner
from weir_kit.metadata import SERVICE_TOKEN_KEY

PEERS = Path(__file__).parent / "peers"
MODEL = "model"
READY_S = 60.0
BATCHING = {"max_rows": 32, "max_delay_ms": 2.0}


class Absent(Exception):
    """A contender that cannot run here, and why."""


@dataclass(frozen=True)
class Server:
    """A contender that answers at `address`; its calls carry `metadata`."""

    address: str
    metadata: tuple[tuple[str, str], ...] = ()


@contextmanager
def weir(repository: Path, state: Path, redis_url: str) -> Iterator[Server]:
    """The inference service over a repository, in a process of its own, as compose runs it."""
    state.mkdir(parents=True, exist_ok=True)
    private = Ed25519PrivateKey.generate()
    token, (port,) = secrets.token_urlsafe(32), ports(1)
    (state / "token").write_text(token, encoding="ascii")
    (state / "key").write_bytes(
        private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    signer = AdmissionSigner(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    admission = Admission("req_bench", "ten_1", "prj_1", "key_1", MODEL, time.time() + 3600)
    environ = {
        "WEIR_LISTEN": f"127.0.0.1:{port}",
        "WEIR_SERVICE_TOKEN_FILE": str(state / "token"),
        "WEIR_ADMISSION_PUBLIC_KEY_FILE": str(state / "key"),
        "WEIR_REDIS_URL": redis_url,
        "WEIR_MODEL_REPOSITORY": str(repository),
        "WEIR_MODEL_STATE": str(state),
    }
    metadata = ((METADATA_KEY, signer.sign(admission)), (SERVICE_TOKEN_KEY, token))
    command = [sys.executable, "-m", "weir_inference"]
    with running(command, environ, state / "weir.log"):
        yield ready(Server(f"127.0.0.1:{port}", metadata))


@contextmanager
def mlserver(file: Path, folder: Path) -> Iterator[Server]:
    """MLServer with adaptive batching as Weir's, in this process tree's own environment."""
    program = bench_home() / "mlserver" / "bin" / "mlserver"
    if not program.exists():
        raise Absent(f"{program} is missing: pip install mlserver onnxruntime into that venv")
    home = folder / "mlserver"
    home.mkdir()
    http_port, grpc_port, metrics_port = ports(3)
    settings = {
        "http_port": http_port, "grpc_port": grpc_port, "metrics_port": metrics_port,
        "host": "127.0.0.1", "parallel_workers": 0,
    }  # fmt: skip
    model = {
        "name": MODEL,
        "implementation": "mlserver_onnx.Onnx",
        "parameters": {"uri": str(file)},
        "max_batch_size": BATCHING["max_rows"],
        "max_batch_time": BATCHING["max_delay_ms"] / 1000,
    }
    (home / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (home / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
    environ = {"PYTHONPATH": str(PEERS)}
    with running([str(program), "start", str(home)], environ, folder / "mlserver.log"):
        yield ready(Server(f"127.0.0.1:{grpc_port}"))


@contextmanager
def kserve(file: Path, folder: Path) -> Iterator[Server]:
    """KServe's Python server, one worker; it does not batch."""
    python = bench_home() / "kserve" / "bin" / "python"
    if not python.exists():
        raise Absent(f"{python} is missing: pip install kserve onnxruntime into that venv")
    grpc_port, http_port = ports(2)
    command = [
        str(python),
        str(PEERS / "kserve_onnx.py"),
        str(file),
        str(grpc_port),
        str(http_port),
    ]
    with running(command, {}, folder / "kserve.log"):
        yield ready(Server(f"127.0.0.1:{grpc_port}"))


def versioned(file: Path, repository: Path, version: int = 1) -> Path:
    """A version of `MODEL` with that file, as Weir's repository has them."""
    folder = repository / MODEL / str(version)
    folder.mkdir(parents=True)
    shutil.copy(file, folder / "model.onnx")
    lines = [
        "task: tensors",
        "engine: onnx",
        "file: model.onnx",
        f"batching: {json.dumps(BATCHING)}",
    ]
    (folder / "model.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@contextmanager
def running(command: list[str], environ: dict[str, str], log: Path) -> Iterator[None]:
    """A process, ended on leaving with all it started."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environ},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    except Absent as absent:
        raise Absent(f"{absent}; its log ends: {log.read_text(errors='replace')[-300:]}") from None
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def ready(server: Server) -> Server:
    """Wait until the model can be called. Raises `Absent`."""
    deadline_s = time.monotonic() + READY_S
    with grpc.insecure_channel(server.address) as channel:
        stub = GRPCInferenceServiceStub(channel)
        while time.monotonic() < deadline_s:
            try:
                request = pb.ModelReadyRequest(name=MODEL)
                if stub.ModelReady(request, timeout=2, metadata=server.metadata).ready:
                    return server
            except grpc.RpcError:
                pass
            time.sleep(0.1)
    raise Absent(f"{server.address} was not ready within {READY_S:g} s")


def ports(n: int) -> list[int]:
    """Free ones."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    found = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return found
