"""`RESULTS.md`: the engine's section, written anew from `results/engine.json`."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from engine.metrics import Metric

BEGIN, END = "<!-- engine: written by make bench-engine -->", "<!-- engine: end -->"
COLUMNS = {
    "tok_s": "tok/s",
    "ttft_p50_ms": "TTFT p50, ms",
    "itl_p50_ms": "ITL p50, ms",
    "itl_p99_ms": "ITL p99, ms",
    "rss_mb": "peak RSS, MB",
    "start_s": "start-up, s",
}
CELL = re.compile(r"(\w+)/([\w.-]+)/b(\d+)/(\w+)$")
Entry = dict[str, object]


def entry(metric: Metric) -> Entry:
    """A metric as the JSON file has it."""
    return dataclasses.asdict(metric)


def write(entries: list[Entry], file: Path) -> None:
    """Replace the section, or append it to a file that has none."""
    section = f"{BEGIN}\n{rendered(entries)}\n{END}"
    text = file.read_text(encoding="utf-8") if file.exists() else "# Measured\n"
    before, found, rest = text.partition(BEGIN)
    after = rest.partition(END)[2] if found else "\n"
    before = before if found else f"{text.rstrip()}\n\n"
    file.write_text(before + section + after, encoding="utf-8")


def rendered(entries: list[Entry]) -> str:
    """The section: the cells beside their peers, all other numbers, and how they were measured."""
    in_cells = [one for one in entries if _cell(one)]
    others = [one for one in entries if not _cell(one)]
    parts = ["## The engine", *_peers_table(in_cells), *_others_table(others), *_sittings(entries)]
    return "\n".join(parts)


def _peers_table(entries: list[Entry]) -> Iterator[str]:
    rows: dict[tuple[str, ...], dict[str, Entry]] = {}
    for one in entries:
        kind, *row = CELL.match(str(one["metric"])).groups()
        rows.setdefault(tuple(row), {})[kind] = one
    if not rows:
        return
    yield "\nWeir / the peer (Weir ÷ peer; for speeds and waits the median of the rounds' own).\n"
    yield f"| model | batch | peer | {' | '.join(COLUMNS.values())} |"
    yield "|---" * (3 + len(COLUMNS)) + "|"
    for (model, batch, peer), found in rows.items():
        numbers = " | ".join(_pair(found.get(kind)) for kind in COLUMNS)
        yield f"| {model} | {batch} | {peer} | {numbers} |"
    yield ""
    for (model, batch, _), found in rows.items():
        if note := found.get("tok_s", {}).get("note"):
            yield f"- {model} b{batch}: {note}"


def _others_table(entries: list[Entry]) -> Iterator[str]:
    if not entries:
        return
    yield "\n| metric | value | beside | ratio | note |"
    yield "|---|---|---|---|---|"
    for one in entries:
        ratio = "" if one["ratio"] is None else f"{one['ratio']:.4g}"
        beside = "" if one["peer_value"] is None else _number(one["peer_value"])
        value = f"{_number(one['value'])} {one['unit']}"
        yield f"| `{one['metric']}` | {value} | {beside} | {ratio} | {one['note']} |"


def _sittings(entries: list[Entry]) -> Iterator[str]:
    """Which numbers are of which run; none for those not saved yet."""
    sittings: dict[str, list[Entry]] = {}
    for one in entries:
        if "date" in one:
            sittings.setdefault(f"{one['date']} {one['command']}", []).append(one)
    if sittings:
        yield "\nMeasured by:\n"
    for found in sittings.values():
        first = found[0]
        machine = first["machine"]
        yield (
            f"- {first['date']}, commit {first['commit']}, {machine['cores']} cores of "
            f"{machine['cpu']} ({' '.join(machine['flags'])}), {machine['memory_gib']} GiB: "
            f"`{first['command']}` ({len(found)} numbers: {_kinds(found)})"
        )


def _kinds(entries: list[Entry]) -> str:
    return ", ".join(dict.fromkeys("/".join(str(e["metric"]).split("/")[:2]) for e in entries))


def _cell(one: Entry) -> bool:
    match = CELL.match(str(one["metric"]))
    return match is not None and match[1] in COLUMNS


def _pair(one: Entry | None) -> str:
    if one is None:
        return "—"
    if one["peer_value"] is None:
        return f"{_number(one['value'])} / absent"
    return f"{_number(one['value'])} / {_number(one['peer_value'])} ({one['ratio']:.2f}×)"


def _number(value: float) -> str:
    """Four digits that count, without exponents."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
