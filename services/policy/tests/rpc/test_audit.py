"""Record and AuditService, through their stubs."""

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from weir_contracts.common.v1 import finding_pb2, money_pb2, usage_pb2
from weir_contracts.policy.v1 import audit_pb2, policy_pb2
from weir_kit.errors import Conflict, InvalidArgument


def record(number: int = 1, **fields: Any) -> policy_pb2.RecordRequest:
    fields = {
        "request_id": f"req_{number}",
        "principal": policy_pb2.Principal(tenant_id="acme", project_id="web", key_id="key_1"),
        "model": "weir-tales",
        "outcome": "stop",
        "usage": usage_pb2.TokenUsage(input_tokens=5, output_tokens=7),
        "charged": money_pb2.Money(nanos=120, currency_code="USD"),
        "findings": [
            finding_pb2.Finding(
                rule="email", action=finding_pb2.ACTION_FLAG, where="output", start=1, end=4
            )
        ],
        "trace_id": "ab" * 16,
        "started_at": Timestamp(seconds=1_800_000_000, nanos=123_456_000),
        "duration_ms": 12.345,
        **fields,
    }
    return policy_pb2.RecordRequest(**fields)


async def test_what_was_recorded_is_listed_as_it_was(policy: Any) -> None:
    first = await policy.policy.Record(record(1))
    work = usage_pb2.WorkUsage(requests=1, items=12, compute_us=4512)
    predicted = record(2, model_version="3", work=work)
    second = await policy.policy.Record(predicted)
    assert (first.sequence, second.sequence) == (1, 2)
    listed = await policy.audit.ListAuditRecords(audit_pb2.ListAuditRecordsRequest())
    assert [r.record for r in listed.records] == [predicted, record(1)]
    assert listed.records[0].previous_hash == listed.records[1].hash == first.hash
    assert listed.records[1].previous_hash == "0" * 64


async def test_recording_again_changes_nothing_and_other_contents_are_refused(
    policy: Any, refused: Any
) -> None:
    first = await policy.policy.Record(record())
    assert await policy.policy.Record(record()) == first
    await refused(policy.policy.Record(record(outcome="length")), Conflict)
    verified = await policy.audit.VerifyAuditLog(audit_pb2.VerifyAuditLogRequest())
    assert (verified.records, verified.first_bad_sequence) == (1, 0)


async def test_records_are_found_by_tenant_and_request_in_pages(policy: Any) -> None:
    for number in range(1, 6):
        await policy.policy.Record(record(number))
    seen, token = [], ""
    while True:
        page = await policy.audit.ListAuditRecords(
            audit_pb2.ListAuditRecordsRequest(tenant_id="acme", page_size=2, page_token=token)
        )
        seen += [r.sequence for r in page.records]
        token = page.next_page_token
        if not token:
            break
    assert seen == [5, 4, 3, 2, 1]
    found = await policy.audit.ListAuditRecords(
        audit_pb2.ListAuditRecordsRequest(request_id="req_3")
    )
    assert [r.sequence for r in found.records] == [3]
    other = audit_pb2.ListAuditRecordsRequest(tenant_id="other")
    assert not (await policy.audit.ListAuditRecords(other)).records


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"principal": None}, "principal.tenant_id"),
        ({"started_at": None}, "started_at"),
        ({"started_at": Timestamp(nanos=-1)}, "started_at"),
        ({"duration_ms": float("nan")}, "duration_ms"),
        ({"duration_ms": -1.0}, "duration_ms"),
        ({"findings": [finding_pb2.Finding(rule="email")]}, "findings[0].action"),
        ({"usage": usage_pb2.TokenUsage(output_tokens=-1)}, "usage.output_tokens"),
        ({"model_version": "v 1"}, "model_version"),
        ({"work": usage_pb2.WorkUsage(requests=1, items=-1)}, "work.items"),
    ],
)
async def test_a_wrong_field_is_named(
    policy: Any, refused: Any, fields: dict[str, Any], field: str
) -> None:
    call = policy.policy.Record(record(**fields))
    assert (await refused(call, InvalidArgument)).field == field
