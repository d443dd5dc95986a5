"""Small things that several servicers translate: times, findings, principals, pages."""

import math

from google.protobuf.timestamp_pb2 import Timestamp

from weir_contracts.common.v1 import finding_pb2
from weir_contracts.policy.v1 import policy_pb2
from weir_kit.errors import InvalidArgument
from weir_policy.core.finding import Action, Finding
from weir_policy.core.principal import Principal

ACTIONS = {Action.REDACT: finding_pb2.ACTION_REDACT, Action.BLOCK: finding_pb2.ACTION_BLOCK}


def finding_to_proto(finding: Finding) -> finding_pb2.Finding:
    """A finding of this service's own."""
    return finding_pb2.Finding(
        rule=finding.rule,
        action=ACTIONS[finding.action],
        where=finding.where.value,
        start=finding.start,
        end=finding.end,
    )


def principal_to_proto(principal: Principal) -> policy_pb2.Principal:
    """Who a key stands for."""
    return policy_pb2.Principal(
        tenant_id=principal.tenant_id, project_id=principal.project_id, key_id=principal.key_id
    )


def principal_of_proto(principal: policy_pb2.Principal) -> Principal:
    """Raises `InvalidArgument` if it is missing or wrong."""
    return Principal(principal.tenant_id, principal.project_id, principal.key_id).check()


def timestamp_of_us(microseconds: int) -> Timestamp:
    """A moment, in microseconds since 1970-01-01 UTC."""
    timestamp = Timestamp()
    timestamp.FromMicroseconds(microseconds)
    return timestamp


def timestamp_of_s(seconds: float) -> Timestamp:
    """A moment, in seconds since 1970-01-01 UTC, to the microsecond."""
    return timestamp_of_us(round(seconds * 1e6))


def us_of_timestamp(timestamp: Timestamp, field: str) -> int:
    """Microseconds since 1970-01-01 UTC. Raises `InvalidArgument` if it is no moment in time."""
    try:
        return timestamp.ToMicroseconds()
    except ValueError as error:
        raise InvalidArgument(f"{field} must be a time from year 1 to 9999", field=field) from error


def us_of_ms(milliseconds: float, field: str) -> int:
    """Microseconds. Raises `InvalidArgument` if it is not finite."""
    if not math.isfinite(milliseconds):
        raise InvalidArgument(f"{field} must be finite", field=field)
    return round(milliseconds * 1000)
