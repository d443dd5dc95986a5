"""An audit entry as its message, and back."""

import math

from weir_contracts.common.v1 import finding_pb2, money_pb2, usage_pb2
from weir_contracts.policy.v1 import audit_pb2
from weir_contracts.policy.v1 import policy_pb2 as pb
from weir_kit.errors import InvalidArgument
from weir_policy.core.audit import AuditEntry, AuditFinding, AuditRecord
from weir_policy.rpc.messages import MICROSECONDS, principal, read_principal, timestamp_us

ACTION_NAMES = {
    number: name.removeprefix("ACTION_").lower()
    for name, number in finding_pb2.Action.items()
    if number != finding_pb2.ACTION_UNSPECIFIED
}
ACTION_NUMBERS = {name: number for number, name in ACTION_NAMES.items()}


def read_entry(request: pb.RecordRequest) -> AuditEntry:
    """The entry in a request to record it; core checks what it says."""
    if not math.isfinite(request.duration_ms):
        raise InvalidArgument("duration_ms must be finite", field="duration_ms")
    started = request.started_at
    return AuditEntry(
        request_id=request.request_id,
        principal=read_principal(request.principal),
        model=request.model,
        outcome=request.outcome,
        input_tokens=request.usage.input_tokens,
        cached_input_tokens=request.usage.cached_input_tokens,
        output_tokens=request.usage.output_tokens,
        charged_nanos=request.charged.nanos,
        currency=request.charged.currency_code,
        findings=tuple(
            AuditFinding(one.rule, ACTION_NAMES.get(one.action, ""), one.where, one.start, one.end)
            for one in request.findings
        ),
        trace_id=request.trace_id,
        started_at_us=started.seconds * MICROSECONDS + started.nanos // 1000,
        duration_us=round(request.duration_ms * 1000),
    )


def record(of: AuditRecord) -> audit_pb2.AuditRecord:
    """A record of the chain."""
    entry = of.entry
    return audit_pb2.AuditRecord(
        sequence=of.sequence,
        record=pb.RecordRequest(
            request_id=entry.request_id,
            principal=principal(entry.principal),
            model=entry.model,
            outcome=entry.outcome,
            usage=usage_pb2.TokenUsage(
                input_tokens=entry.input_tokens,
                cached_input_tokens=entry.cached_input_tokens,
                output_tokens=entry.output_tokens,
            ),
            charged=money_pb2.Money(nanos=entry.charged_nanos, currency_code=entry.currency),
            findings=[
                finding_pb2.Finding(
                    rule=one.rule,
                    action=ACTION_NUMBERS[one.action],
                    where=one.where,
                    start=one.start,
                    end=one.end,
                )
                for one in entry.findings
            ],
            trace_id=entry.trace_id,
            started_at=timestamp_us(entry.started_at_us),
            duration_ms=entry.duration_us / 1000,
        ),
        previous_hash=of.previous_hash,
        hash=of.hash,
    )
