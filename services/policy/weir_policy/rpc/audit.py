"""`weir.policy.v1.AuditService`, and audit records on the wire."""

from typing import Any

import grpc

from weir_contracts.common.v1 import finding_pb2, money_pb2, usage_pb2
from weir_contracts.policy.v1 import audit_pb2, audit_pb2_grpc, policy_pb2
from weir_kit.errors import InvalidArgument
from weir_policy.core.audit import AuditEntry, AuditFinding, AuditLog, AuditRecord, AuditWork
from weir_policy.rpc.proto import (
    principal_of_proto,
    principal_to_proto,
    timestamp_of_us,
    us_of_ms,
    us_of_timestamp,
)

Context = grpc.aio.ServicerContext[Any, Any]
ACTION_NAMES = {
    finding_pb2.ACTION_ALLOW: "allow",
    finding_pb2.ACTION_FLAG: "flag",
    finding_pb2.ACTION_REDACT: "redact",
    finding_pb2.ACTION_BLOCK: "block",
}
ACTIONS = {name: action for action, name in ACTION_NAMES.items()}


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """List and verify."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    async def ListAuditRecords(
        self, request: audit_pb2.ListAuditRecordsRequest, context: Context
    ) -> audit_pb2.ListAuditRecordsResponse:
        page = await self._audit.list(
            request.tenant_id, request.request_id, request.page_size, request.page_token
        )
        return audit_pb2.ListAuditRecordsResponse(
            records=[_record_to_proto(record) for record in page.items],
            next_page_token=page.next_page_token,
        )

    async def VerifyAuditLog(
        self, request: audit_pb2.VerifyAuditLogRequest, context: Context
    ) -> audit_pb2.VerifyAuditLogResponse:
        verification = await self._audit.verify()
        return audit_pb2.VerifyAuditLogResponse(**vars(verification))


def entry_of_proto(request: policy_pb2.RecordRequest) -> AuditEntry:
    """What is to be written down. Raises `InvalidArgument` for what core could not hold."""
    return AuditEntry(
        request_id=request.request_id,
        principal=principal_of_proto(request.principal),
        model=request.model,
        outcome=request.outcome,
        input_tokens=request.usage.input_tokens,
        cached_input_tokens=request.usage.cached_input_tokens,
        output_tokens=request.usage.output_tokens,
        charged_nanos=request.charged.nanos,
        currency=request.charged.currency_code,
        findings=tuple(
            _finding_of_proto(finding, f"findings[{place}]")
            for place, finding in enumerate(request.findings)
        ),
        trace_id=request.trace_id,
        started_at_us=us_of_timestamp(request.started_at, "started_at"),
        duration_us=us_of_ms(request.duration_ms, "duration_ms"),
        model_version=request.model_version,
        work=_work_of_proto(request.work) if request.HasField("work") else None,
    )


def _work_of_proto(work: usage_pb2.WorkUsage) -> AuditWork:
    return AuditWork(work.requests, work.items, work.compute_us)


def _finding_of_proto(finding: finding_pb2.Finding, field: str) -> AuditFinding:
    if finding.action not in ACTION_NAMES:
        raise InvalidArgument(f"{field}.action must be set to an action", field=f"{field}.action")
    action = ACTION_NAMES[finding.action]
    return AuditFinding(finding.rule, action, finding.where, finding.start, finding.end)


def _record_to_proto(record: AuditRecord) -> audit_pb2.AuditRecord:
    entry = record.entry
    return audit_pb2.AuditRecord(
        sequence=record.sequence,
        record=policy_pb2.RecordRequest(
            request_id=entry.request_id,
            principal=principal_to_proto(entry.principal),
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
                    rule=f.rule, action=ACTIONS[f.action], where=f.where, start=f.start, end=f.end
                )
                for f in entry.findings
            ],
            trace_id=entry.trace_id,
            started_at=timestamp_of_us(entry.started_at_us),
            duration_ms=entry.duration_us / 1000,
            model_version=entry.model_version,
            work=usage_pb2.WorkUsage(**vars(entry.work)) if entry.work else None,
        ),
        previous_hash=record.previous_hash,
        hash=record.hash,
    )
