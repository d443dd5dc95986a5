"""The services as programs: which process runs which, and what each is told by its environment."""

import asyncio
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from weir_cli.stack import postgres, redis
from weir_cli.stack.home import Home
from weir_cli.stack.model import Model, repository
from weir_cli.stack.ports import HOST
from weir_cli.stack.program import Program
from weir_cli.stack.secrets import Secrets

HEALTH_TIMEOUT_S = 1.0

# Process → services in it, in the order of stopping: what calls before what is called.
EMBEDDED = {
    "services": ("policy", "billing", "tokenizer", "gateway"),
    "inference": ("inference",),
}
PROCESSES = {name: (name,) for name in ("gateway", "inference", "tokenizer", "billing", "policy")}
LAYOUTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "embedded": EMBEDDED,
    "processes": PROCESSES,
}


@dataclass(frozen=True)
class Layout:
    """Which processes there are and where each listens: `ports` has one gRPC port a process."""

    mode: str
    http_port: int
    ports: Mapping[str, int]

    @property
    def addresses(self) -> dict[str, str]:
        """Each service's gRPC address."""
        return {
            service: f"{HOST}:{self.ports[process]}"
            for process, services in LAYOUTS[self.mode].items()
            for service in services
        }


def programs(home: Home, layout: Layout, model: Model) -> tuple[Program, ...]:
    """The services' programs."""
    everybody = _environment(home, layout, model)
    return tuple(
        _program(home, layout, process, services, everybody)
        for process, services in LAYOUTS[layout.mode].items()
    )


def _program(
    home: Home,
    layout: Layout,
    process: str,
    services: tuple[str, ...],
    everybody: Mapping[str, str],
) -> Program:
    address = f"{HOST}:{layout.ports[process]}"
    command = (
        (sys.executable, "-m", f"weir_{process}")
        if len(services) == 1
        else (sys.executable, "-m", "weir_kit.host", *services)
    )
    peers = {
        f"WEIR_{service.upper()}_ADDRESS": "" if service in services else peer
        for service, peer in layout.addresses.items()
    }
    return Program(
        name=process,
        command=command,
        log=home.log(process),
        answers=lambda: serving(address),
        environment={**everybody, **peers, "WEIR_LISTEN": address},
        services=services,
        address=address,
    )


def _environment(home: Home, layout: Layout, model: Model) -> dict[str, str]:
    """What every process is told; each reads what it needs. Other WEIR_* settings pass through."""
    secrets = Secrets(home.secrets)
    return {
        "WEIR_SERVICE_TOKEN_FILE": str(secrets.service_token),
        "WEIR_POLICY_PEPPER_FILE": str(secrets.pepper),
        "WEIR_ADMISSION_PRIVATE_KEY_FILE": str(secrets.admission_private_key),
        "WEIR_ADMISSION_PUBLIC_KEY_FILE": str(secrets.admission_public_key),
        "WEIR_POLICY_DATABASE_URL": postgres.url(home, "weir_policy"),
        "WEIR_BILLING_DATABASE_URL": postgres.url(home, "weir_billing"),
        "WEIR_REDIS_URL": redis.url(home),
        "WEIR_HTTP_LISTEN": f"{HOST}:{layout.http_port}",
        "WEIR_MODELS": model.setting,
        "WEIR_MODEL_REPOSITORY": str(repository()),
        "WEIR_MODEL_STATE": str(home.models),
        **({"WEIR_INFERENCE_QUANTIZE": model.quantize} if model.quantize else {}),
        "PYTHONUNBUFFERED": "1",
    }


async def serving(address: str) -> bool:
    """Whether the gRPC server at `address` says that it serves (gRPC health checking)."""
    # A bare connection first: a gRPC channel would back off after a refusal.
    host, port = address.rsplit(":", 1)
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    with suppress(grpc.aio.AioRpcError):
        async with grpc.aio.insecure_channel(address) as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=HEALTH_TIMEOUT_S
            )
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
    return False
