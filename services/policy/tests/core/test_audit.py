"""The audit chain's arithmetic."""

import hashlib
import json
from dataclasses import replace

import pytest

from weir_kit.errors import InvalidArgument
from weir_policy.core.audit import (
    NO_HASH,
    AuditEntry,
    AuditFinding,
    AuditLog,
    AuditRecord,
    AuditWork,
    Head,
    canonical,
    check_entry,
    link,
)
from weir_policy.core.principal import Principal

ENTRY = AuditEntry(
    *("req_1", Principal("acme", "web", "key_1"), "weir-tales", "stop", 5, 1, 7, 120, "USD"),
    findings=(AuditFinding("email", "redact", "output", 3, 9),),
    trace_id="0" * 31 + "1",
    started_at_us=1_800_000_000_123_456,
    duration_us=1500,
)


PREDICTED = replace(ENTRY, model_version="3", work=AuditWork(1, 12, 4512))


class Rows:
    """A chain in memory."""

    def __init__(self, n_records: int, entry: AuditEntry = ENTRY) -> None:
        self.records: list[AuditRecord] = []
        self.head = Head(0, NO_HASH)
        for number in range(n_records):
            record = link(replace(entry, request_id=f"req_{number}"), self.head)
            self.records.append(record)
            self.head = Head(record.sequence, record.hash)

    async def after(self, sequence: int, limit: int) -> list[AuditRecord]:
        return [record for record in self.records if record.sequence > sequence][:limit]

    async def end(self) -> tuple[Head, int]:
        return self.head, max((record.sequence for record in self.records), default=0)

    async def append(self, entry: AuditEntry) -> AuditRecord:
        raise NotImplementedError

    async def before(self, *_: object) -> list[AuditRecord]:
        raise NotImplementedError


def test_the_hash_is_what_the_documentation_says() -> None:
    record = link(ENTRY, Head(0, NO_HASH))
    fields = json.loads(canonical(1, ENTRY))
    again = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert record.hash == hashlib.sha256(f"{'0' * 64}\n{again}".encode()).hexdigest()
    assert fields["findings"] == [["email", "redact", "output", 3, 9]]


def test_the_hash_never_changes_between_versions() -> None:
    record = link(ENTRY, Head(0, NO_HASH))
    assert record.hash == "d3a6e261ea9f3b7517cf03ec0e0ae50e8be277cf7a7534a51dfafcbe1244e3a1"
    # Also where the record has what later versions added.
    record = link(PREDICTED, Head(0, NO_HASH))
    assert record.hash == "7cb0e11259ade29849e7ab64d05e50a2743eea92bc0f9282f9d3b9444ffdfebe"


def test_what_a_record_does_not_have_is_not_in_its_hash_and_what_it_has_is() -> None:
    assert not {"model_version", "work"} & set(json.loads(canonical(1, ENTRY)))
    fields = json.loads(canonical(1, PREDICTED))
    assert (fields["model_version"], fields["work"]) == ("3", [1, 12, 4512])


@pytest.mark.parametrize("n_records", [0, 1, 5, 2500])
async def test_an_untouched_chain_verifies(n_records: int) -> None:
    verification = await AuditLog(Rows(n_records)).verify()
    assert (verification.records, verification.first_bad_sequence) == (n_records, 0)


async def test_any_change_to_any_field_of_any_record_is_found() -> None:
    changes = {
        "request_id": "req_x", "model": "m", "outcome": "length", "input_tokens": 6,
        "cached_input_tokens": 0, "output_tokens": 8, "charged_nanos": 0, "currency": "EUR",
        "findings": (), "trace_id": "", "started_at_us": 1, "duration_us": 1,
        "principal": Principal("acme", "web", "key_2"), "model_version": "4",
        "work": AuditWork(1, 13, 4512),
    }  # fmt: skip
    assert set(changes) == set(vars(ENTRY))
    absent = {"model_version": "", "work": None}
    for place in range(3):
        for entry in (ENTRY, PREDICTED):
            for name, value in (*changes.items(), *(absent.items() if entry.work else ())):
                rows = Rows(3, entry)
                record = rows.records[place]
                rows.records[place] = replace(record, entry=replace(record.entry, **{name: value}))
                assert (await AuditLog(rows).verify()).first_bad_sequence == place + 1, name


async def test_a_record_taken_out_anywhere_is_found() -> None:
    for place in range(4):
        rows = Rows(4)
        del rows.records[place]
        assert (await AuditLog(rows).verify()).first_bad_sequence == place + 1


async def test_records_swapped_added_or_written_anew_are_found() -> None:
    rows = Rows(3)
    one, two = rows.records[0], rows.records[1]
    rows.records[0], rows.records[1] = replace(two, sequence=1), replace(one, sequence=2)
    assert (await AuditLog(rows).verify()).first_bad_sequence == 1

    rows = Rows(3)
    rows.records.append(link(replace(ENTRY, request_id="req_x"), rows.head))
    assert (await AuditLog(rows).verify()).first_bad_sequence == 4

    rows = Rows(3)
    rows.records[2] = link(replace(ENTRY, outcome="length"), Head(2, rows.records[1].hash))
    assert (await AuditLog(rows).verify()).first_bad_sequence == 3


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"request_id": "a b"}, "request_id"),
        ({"principal": Principal("", "web", "key_1")}, "principal.tenant_id"),
        ({"principal": Principal("acme", "web", "weir_sk_x")}, "principal.key_id"),
        ({"model": ""}, "model"),
        ({"model": "a\x00"}, "model"),
        ({"outcome": "it stopped"}, "outcome"),
        ({"input_tokens": -1}, "usage.input_tokens"),
        ({"charged_nanos": -1}, "charged.nanos"),
        ({"currency": "usd"}, "charged.currency_code"),
        ({"currency": ""}, "charged.currency_code"),
        ({"findings": (AuditFinding("email", "redact", "output", 3, 3),)}, "findings[0].end"),
        ({"findings": (AuditFinding("email", "redact", "middle", 3, 4),)}, "findings[0].where"),
        ({"findings": (AuditFinding("a b", "redact", "input", 3, 4),)}, "findings[0].rule"),
        ({"trace_id": "xyz"}, "trace_id"),
        ({"started_at_us": 0}, "started_at"),
        ({"duration_us": -1}, "duration_ms"),
        ({"model_version": "v" * 129}, "model_version"),
        ({"model_version": "3\n"}, "model_version"),
        ({"work": AuditWork(-1, 0, 0)}, "work.requests"),
        ({"work": AuditWork(1, -1, 0)}, "work.items"),
        ({"work": AuditWork(1, 1, -1)}, "work.compute_us"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidArgument) as fault:
        check_entry(replace(ENTRY, **changes))
    assert fault.value.field == field


def test_an_entry_of_a_request_that_cost_nothing_needs_no_currency() -> None:
    check_entry(replace(ENTRY, charged_nanos=0, currency="", findings=(), trace_id=""))
