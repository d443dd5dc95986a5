"""What several servicers read from their messages and put into them."""

from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from weir_contracts.common.v1 import finding_pb2
from weir_contracts.policy.v1 import policy_pb2
from weir_policy.core.finding import Action, Finding
from weir_policy.core.principal import Principal

Context = grpc.aio.ServicerContext[Any, Any]
MICROSECONDS = 1_000_000
ACTIONS = {Action.REDACT: finding_pb2.ACTION_REDACT, Action.BLOCK: finding_pb2.ACTION_BLOCK}


def timestamp(seconds: float) -> Timestamp:
    """A time in seconds since 1970-01-01 UTC, to the microsecond."""
    return timestamp_us(round(seconds * MICROSECONDS))


def timestamp_us(microseconds: int) -> Timestamp:
    """A time in microseconds since 1970-01-01 UTC."""
    whole, rest = divmod(microseconds, MICROSECONDS)
    return Timestamp(seconds=whole, nanos=rest * 1000)


def read_principal(message: policy_pb2.Principal) -> Principal:
    """A principal, not yet checked."""
    return Principal(message.tenant_id, message.project_id, message.key_id)


def principal(of: Principal) -> policy_pb2.Principal:
    """A principal."""
    return policy_pb2.Principal(tenant_id=of.tenant_id, project_id=of.project_id, key_id=of.key_id)


def finding(of: Finding) -> finding_pb2.Finding:
    """A finding."""
    return finding_pb2.Finding(
        rule=of.rule,
        action=ACTIONS[of.action],
        where=of.where.value,
        start=of.start,
        end=of.end,
    )
