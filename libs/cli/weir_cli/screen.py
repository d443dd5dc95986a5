"""The two streams of a command: its answer on stdout, everything else on stderr."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

NANOS = 1_000_000_000

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]


def print_json(answer: Any) -> None:
    """One line of JSON, and at once: its reader may be waiting."""
    sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A plain table; amounts and counts are right-aligned where every cell is a number or money."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    cells = [[Text(str(cell)) for cell in row] for row in rows]
    for index, column in enumerate(columns):
        numeric = all(_is_amount(row[index].plain) for row in cells)
        one_word = all(" " not in row[index].plain for row in cells)  # an id: kept whole, to copy
        table.add_column(
            column,
            justify="right" if cells and numeric else "left",
            overflow="fold",
            no_wrap=one_word,
            min_width=max((len(row[index]) for row in cells), default=0) if one_word else None,
        )
    for row in cells:
        table.add_row(*row)
    out.print(table)


def money(nanos: int | None, currency_code: str | None) -> str:
    """An exact amount, `10.00 USD` or `0.000104500 USD`: two decimals, or all nine if needed."""
    if nanos is None:
        return "not known yet"
    whole, fraction = divmod(abs(nanos), NANOS)
    digits = f"{fraction:09d}"
    decimals = digits[:2] if digits[2:] == "0" * 7 else digits
    return f"{'-' if nanos < 0 else ''}{whole}.{decimals} {currency_code}"


def moment(seconds: float) -> str:
    """A moment in UTC, `2026-11-23 17:04:05`; `-` for 0."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S") if seconds else "-"


def _is_amount(cell: str) -> bool:
    number = cell.split(" ")[0].replace(",", "")
    return cell == "" or number.lstrip("-").replace(".", "", 1).isdigit()
