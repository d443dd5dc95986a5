"""The audit log: records without content, each chained to the one before by its hash.

A record's hash is SHA-256 over the previous record's hash (64 hexadecimal digits), a newline, and
the record in canonical JSON: the fields of `canonical`, keys sorted, no spaces, ASCII only, every
number an integer. A record without a model's version or without work has no field for it. So
anybody with the records can compute the chain again.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Protocol

from weir_kit.errors import InvalidArgument
from weir_policy.core.names import check_model, check_request_id, check_resource_id
from weir_policy.core.paging import Page, PageRequest, make_page, read_page
from weir_policy.core.principal import Principal

NO_HASH = "0" * 64
VERIFY_BATCH = 1000
FINDINGS_MAX = 4096
TIME_S_MAX = 253_402_300_799  # the end of the year 9999
DURATION_US_MAX = 10**15
OUTCOME = re.compile(r"[A-Za-z_]{1,64}")
TRACE_ID = re.compile(r"(?:[0-9a-f]{32})?")
MODEL_VERSION = re.compile(r"[!-~]{0,128}")
CURRENCY = re.compile(r"[A-Z]{3}")
RULE = re.compile(r"[a-z0-9_]{1,64}")
ACTIONS = ("allow", "flag", "redact", "block")
PLACES = ("input", "output")


@dataclass(frozen=True)
class AuditFinding:
    """A finding as it is written down; code points `start` to `end`."""

    rule: str
    action: str
    where: str
    start: int
    end: int


@dataclass(frozen=True)
class AuditWork:
    """Work of a model that answers in one piece: calls, items, microseconds of computing."""

    requests: int
    items: int
    compute_us: int


@dataclass(frozen=True)
class AuditEntry:
    """What is written down about a request. Amounts in nanos, times in microseconds.

    `model_version` is "" for what has no versions, `work` None for what has tokens.
    """

    request_id: str
    principal: Principal
    model: str
    outcome: str
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    charged_nanos: int
    currency: str
    findings: tuple[AuditFinding, ...]
    trace_id: str
    started_at_us: int
    duration_us: int
    model_version: str = ""
    work: AuditWork | None = None


@dataclass(frozen=True)
class AuditRecord:
    """One link of the chain; `sequence` counts from 1."""

    sequence: int
    entry: AuditEntry
    previous_hash: str
    hash: str


@dataclass(frozen=True)
class Head:
    """The chain's last link; sequence 0 before the first."""

    sequence: int
    hash: str


@dataclass(frozen=True)
class Verification:
    """Records looked at, and the first that does not fit (0: all fit)."""

    records: int
    first_bad_sequence: int


class AuditRows(Protocol):
    """Where the chain is kept."""

    async def append(self, entry: AuditEntry) -> AuditRecord:
        """Link it to the end, or return the record of the same request that stands already.

        Raises `Conflict` if that one says something else.
        """
        ...

    async def before(
        self, sequence: int | None, tenant_id: str, request_id: str, limit: int
    ) -> list[AuditRecord]:
        """Newest first; "" means any."""
        ...

    async def after(self, sequence: int, limit: int) -> list[AuditRecord]:
        """By sequence."""
        ...

    async def end(self) -> tuple[Head, int]:
        """The head, and the highest sequence that a record has, both at one moment."""
        ...


class AuditLog:
    """Appends to the chain, reads it and proves it."""

    def __init__(self, rows: AuditRows) -> None:
        self._rows = rows

    async def append(self, entry: AuditEntry) -> AuditRecord:
        """Idempotent by request id. Raises `InvalidArgument` and `Conflict`."""
        check_entry(entry)
        return await self._rows.append(entry)

    async def list(
        self, tenant_id: str, request_id: str, page_size: int, page_token: str
    ) -> Page[AuditRecord]:
        """Newest first."""
        if tenant_id:
            check_resource_id(tenant_id, "tenant_id")
        if request_id:
            check_request_id(request_id)
        listing = f"audit of {tenant_id} {request_id}"
        request = read_page(page_size, page_token, listing)
        found = await self._rows.before(_sequence(request), tenant_id, request_id, request.size + 1)
        return make_page(found, request, listing, lambda record: str(record.sequence))

    async def verify(self) -> Verification:
        """Compute every hash again and compare, up to the head as it stands now."""
        head, last = await self._rows.end()
        previous = Head(0, NO_HASH)
        while previous.sequence < head.sequence:
            batch = await self._rows.after(previous.sequence, VERIFY_BATCH)
            for record in batch[: head.sequence - previous.sequence]:
                if not _follows(record, previous):
                    return Verification(previous.sequence + 1, previous.sequence + 1)
                previous = Head(record.sequence, record.hash)
            if not batch:  # the last records are gone
                return Verification(previous.sequence, previous.sequence + 1)
        if head != previous:  # the last record is another one than the head was made for
            return Verification(previous.sequence, max(1, previous.sequence))
        return Verification(previous.sequence, head.sequence + 1 if last > head.sequence else 0)


def link(entry: AuditEntry, head: Head) -> AuditRecord:
    """The record that continues the chain after `head`."""
    sequence = head.sequence + 1
    return AuditRecord(sequence, entry, head.hash, hash_of(head.hash, sequence, entry))


def hash_of(previous_hash: str, sequence: int, entry: AuditEntry) -> str:
    """64 hexadecimal digits."""
    return hashlib.sha256(f"{previous_hash}\n{canonical(sequence, entry)}".encode()).hexdigest()


def canonical(sequence: int, entry: AuditEntry) -> str:
    """The record as the one text that is hashed."""
    fields: dict[str, object] = {
        "sequence": sequence,
        "request_id": entry.request_id,
        "tenant_id": entry.principal.tenant_id,
        "project_id": entry.principal.project_id,
        "key_id": entry.principal.key_id,
        "model": entry.model,
        "outcome": entry.outcome,
        "input_tokens": entry.input_tokens,
        "cached_input_tokens": entry.cached_input_tokens,
        "output_tokens": entry.output_tokens,
        "charged_nanos": entry.charged_nanos,
        "currency": entry.currency,
        "findings": [[f.rule, f.action, f.where, f.start, f.end] for f in entry.findings],
        "trace_id": entry.trace_id,
        "started_at_us": entry.started_at_us,
        "duration_us": entry.duration_us,
    }
    # Left out where there is none, so that records made before these were known keep their hashes.
    if entry.model_version:
        fields["model_version"] = entry.model_version
    if entry.work:
        fields["work"] = [entry.work.requests, entry.work.items, entry.work.compute_us]
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def check_entry(entry: AuditEntry) -> None:
    """Raise `InvalidArgument` for the first field that is wrong."""
    check_request_id(entry.request_id)
    entry.principal.check()
    check_model(entry.model, "model")
    is_version = MODEL_VERSION.fullmatch(entry.model_version)
    _require(is_version, "model_version", "at most 128 ASCII characters without blanks")
    _require(OUTCOME.fullmatch(entry.outcome), "outcome", "1 to 64 letters and underscores")
    for name in ("input_tokens", "cached_input_tokens", "output_tokens"):
        _require(getattr(entry, name) >= 0, f"usage.{name}", "0 or more")
    _require(entry.charged_nanos >= 0, "charged.nanos", "0 or more")
    if entry.charged_nanos or entry.currency:
        _require(CURRENCY.fullmatch(entry.currency), "charged.currency_code", "as in `USD`")
    _require(len(entry.findings) <= FINDINGS_MAX, "findings", f"at most {FINDINGS_MAX}")
    for place, finding in enumerate(entry.findings):
        name = f"findings[{place}]"
        _require(RULE.fullmatch(finding.rule), f"{name}.rule", "a rule's name")
        _require(finding.action in ACTIONS, f"{name}.action", "one of the actions")
        _require(finding.where in PLACES, f"{name}.where", "`input` or `output`")
        _require(0 <= finding.start < finding.end, f"{name}.end", "more than start, from 0")
    _require(TRACE_ID.fullmatch(entry.trace_id), "trace_id", "32 hexadecimal digits, or empty")
    in_time = 0 < entry.started_at_us <= TIME_S_MAX * 1_000_000
    _require(in_time, "started_at", "after 1970 and before 10000")
    _require(0 <= entry.duration_us <= DURATION_US_MAX, "duration_ms", "0 or more, and finite")
    for name, count in vars(entry.work).items() if entry.work else ():
        _require(count >= 0, f"work.{name}", "0 or more")


def _require(holds: object, field: str, expected: str) -> None:
    if not holds:
        raise InvalidArgument(f"{field} must be {expected}", field=field)


def _follows(record: AuditRecord, previous: Head) -> bool:
    return (
        record.sequence == previous.sequence + 1
        and record.previous_hash == previous.hash
        and record.hash == hash_of(previous.hash, record.sequence, record.entry)
    )


def _sequence(request: PageRequest) -> int | None:
    if not request.after:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", request.after):
        raise InvalidArgument("page_token must come from an answer", field="page_token")
    return int(request.after)
