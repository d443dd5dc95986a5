"""The two streams of a command: its answer on stdout, everything else on stderr."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

NANOS = 1_000_000_000
GAP_CELLS = 2

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]


def print_json(answer: Any) -> None:
    """One line of JSON, and at once: its reader may be waiting."""
    sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], optional: Sequence[str] = ()
) -> None:
    """A plain table; amounts and counts are right-aligned where every cell is a number or money.

    On a screen too narrow, the `optional` columns are left out, the first of them first, until each
    row fits on a line; what is still too wide wraps.
    """
    cells = [[Text(str(cell)) for cell in row] for row in rows]
    widths = [max(map(cell_len, (name, *_lines(cells, i)))) for i, name in enumerate(columns)]
    shown = [*range(len(columns))]
    for name in optional:
        if _width(widths[i] for i in shown) > out.width:
            shown.remove(columns.index(name))
    words = {i: [word for line in _lines(cells, i) for word in line.split(" ")] for i in shown}
    longest = {i: max(map(cell_len, words[i]), default=0) for i in shown}
    fits = _width(longest.values()) <= out.width
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i in shown:
        whole = fits and words[i] == _lines(cells, i)  # an id: kept whole, to copy
        table.add_column(
            columns[i],
            justify="right" if cells and all(map(_is_amount, _lines(cells, i))) else "left",
            overflow="fold",
            no_wrap=whole,
            min_width=longest[i] if whole else None,
        )
    for row in cells:
        table.add_row(*(row[i] for i in shown))
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


def _lines(cells: Sequence[Sequence[Text]], column: int) -> list[str]:
    return [line for row in cells for line in row[column].plain.split("\n")]


def _width(columns: Iterable[int]) -> int:
    widths = [*columns]
    return sum(widths) + GAP_CELLS * (len(widths) - 1)
