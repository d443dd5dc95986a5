"""The composition root: database, limiter, rules, signer, servicers."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from importlib import resources
from typing import Any

from weir_contracts.policy.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    policy_pb2,
    policy_pb2_grpc,
    tenant_pb2,
    tenant_pb2_grpc,
)
from weir_kit.admission import AdmissionSigner
from weir_kit.clock import Clock, SystemClock
from weir_kit.config import ConfigError
from weir_kit.ids import Ids, RandomIds
from weir_kit.service import Peers, Service, Servicer, ServiceSpec
from weir_policy.adapters.audit_rows import PostgresAuditRows
from weir_policy.adapters.database import Database, open_database
from weir_policy.adapters.keys import PostgresKeys
from weir_policy.adapters.migrate import migrate
from weir_policy.adapters.redis_limiter import RedisLimiter, open_redis
from weir_policy.adapters.tenants import PostgresProjects, PostgresTenants
from weir_policy.config import Config
from weir_policy.core.admit import Gate
from weir_policy.core.audit import AuditLog
from weir_policy.core.keys import Draw, KeyHasher
from weir_policy.core.rules import RuleSet
from weir_policy.core.rules_file import read_rules
from weir_policy.core.tenants import TenantDesk
from weir_policy.rpc.audit import AuditServicer
from weir_policy.rpc.policy import PolicyServicer
from weir_policy.rpc.tenant import TenantServicer

DEFAULT_RULES = "default_rules.yaml"


@asynccontextmanager
async def open_service(
    config: Config,
    peers: Peers,
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
    draw: Draw = secrets.choice,
) -> AsyncIterator[Service]:
    """Bring the schema up to date, then serve until closed.

    Raises ConfigError for a wrong admission key. PostgreSQL must be there; Redis may come later.
    """
    del peers  # it needs no other service
    clock, ids = clock or SystemClock(), ids or RandomIds()
    signer, hasher = _signer(config), KeyHasher(config.pepper)
    rules = config.rules or default_rules()
    # A thread, so that other services in this process go on while a migration runs.
    await asyncio.to_thread(migrate, config.database_url)
    async with (
        open_database(config.database_url) as database,
        aclosing(open_redis(config.redis_url)) as redis,
    ):
        keys, audit = PostgresKeys(database), AuditLog(PostgresAuditRows(database))
        gate = Gate(
            keys,
            RedisLimiter(redis),
            rules.input,
            hasher=hasher,
            signer=signer,
            ttl_s=config.admission_ttl_s,
            clock=clock,
        )
        desk = _desk(database, keys, hasher, clock, ids, draw)
        yield Service("policy", _servicers(gate, desk, audit, rules))


def default_rules() -> RuleSet:
    """The rules that hold if no file is named."""
    return read_rules(resources.files("weir_policy").joinpath(DEFAULT_RULES).read_text("utf-8"))


def _desk(
    database: Database, keys: PostgresKeys, hasher: KeyHasher, clock: Clock, ids: Ids, draw: Draw
) -> TenantDesk:
    return TenantDesk(
        PostgresTenants(database),
        PostgresProjects(database),
        keys,
        hasher=hasher,
        clock=clock,
        ids=ids,
        draw=draw,
    )


def _servicers(
    gate: Gate, desk: TenantDesk, audit: AuditLog, rules: RuleSet
) -> tuple[Servicer, ...]:
    served: tuple[tuple[Any, str, Any, Callable[[Any, Any], None]], ...] = (
        (
            policy_pb2,
            "PolicyService",
            PolicyServicer(gate, rules.output, audit),
            policy_pb2_grpc.add_PolicyServiceServicer_to_server,
        ),
        (
            tenant_pb2,
            "TenantService",
            TenantServicer(desk),
            tenant_pb2_grpc.add_TenantServiceServicer_to_server,
        ),
        (
            audit_pb2,
            "AuditService",
            AuditServicer(audit),
            audit_pb2_grpc.add_AuditServiceServicer_to_server,
        ),
    )
    return tuple(
        Servicer(module.DESCRIPTOR.services_by_name[name].full_name, implementation, add)
        for module, name, implementation, add in served
    )


def _signer(config: Config) -> AdmissionSigner:
    try:
        return AdmissionSigner(config.admission_private_key)
    except ValueError as error:
        raise ConfigError(f"WEIR_ADMISSION_PRIVATE_KEY_FILE is wrong: {error}") from error


SPEC = ServiceSpec(name="policy", config=Config, open=open_service)
