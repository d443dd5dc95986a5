"""The whole policy service, on real PostgreSQL and real Redis, called through its stubs."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from weir_contracts.policy.v1 import audit_pb2_grpc, policy_pb2_grpc, tenant_pb2, tenant_pb2_grpc
from weir_kit.admission import AdmissionVerifier
from weir_kit.clock import ManualClock
from weir_kit.ids import SeededIds
from weir_kit.local import local_channel
from weir_policy.config import Config
from weir_policy.core.rules_file import read_rules
from weir_policy.service import open_service

RULES = """
rules:
  - {rule: email, action: redact, where: both}
  - {rule: phone, action: redact, where: output}
  - {rule: payment_card, action: redact, where: both}
  - {rule: secrets, action: redact, where: both}
  - {rule: keywords, action: block, where: both, keywords: [Nightjar]}
"""


@dataclass
class Policy:
    """Stubs of a running service, its clock, and who checks its admissions."""

    policy: Any
    tenants: Any
    audit: Any
    clock: ManualClock
    verifier: AdmissionVerifier

    async def key(self, **fields: Any) -> tuple[Any, str]:
        """A new key in the tenant `acme`, project `web`: its record and itself."""
        request = tenant_pb2.CreateKeyRequest(tenant_id="acme", project_id="web", **fields)
        made = await self.tenants.CreateKey(request)
        return made.key, made.api_key


Open = Callable[..., Any]


@pytest.fixture
def open_policy(database_url: str, redis_url: str) -> Open:
    """`async with open_policy() as policy`: the service, with no tenant in it."""
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @asynccontextmanager
    async def opened(redis: str = redis_url, rules: str = RULES) -> AsyncIterator[Policy]:
        config = Config(database_url, redis, b"a pepper for tests", pem, 60.0, read_rules(rules))
        clock = ManualClock()
        source = random.Random(0)
        opening = open_service(config, peers=None, clock=clock, ids=SeededIds(), draw=source.choice)
        async with opening as service:
            channel = local_channel(*service.servicers)
            yield Policy(
                policy_pb2_grpc.PolicyServiceStub(channel),
                tenant_pb2_grpc.TenantServiceStub(channel),
                audit_pb2_grpc.AuditServiceStub(channel),
                clock,
                AdmissionVerifier(public),
            )
            await channel.close()

    return opened


@pytest.fixture
async def policy(open_policy: Open) -> AsyncIterator[Policy]:
    """The service with the tenant `acme` and its project `web`."""
    async with open_policy() as running:
        await running.tenants.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id="acme"))
        await running.tenants.CreateProject(
            tenant_pb2.CreateProjectRequest(tenant_id="acme", project_id="web")
        )
        yield running


@pytest.fixture
def refused() -> Callable[..., Awaitable[Any]]:
    """`await refused(call, NotFound)`: the error that a call ends with, which must be of a kind."""
    from weir_kit.status import raising_weir_errors

    async def ends(call: Awaitable[Any], kind: type[Exception]) -> Any:
        with pytest.raises(kind) as caught, raising_weir_errors():
            await call
        return caught.value

    return ends
