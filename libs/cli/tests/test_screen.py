import io
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from weir_cli import screen
from weir_cli.commands.billing import nanos_of
from weir_cli.failure import Failure
from weir_cli.screen import moment, money, print_table

COLUMNS = ("one", "two", "three", "four")
CELL_CHARS_MAX = 30
CELL = st.text(st.sampled_from("ab \n漢"), max_size=CELL_CHARS_MAX)
ROWS = st.lists(st.tuples(CELL, CELL, CELL, CELL), max_size=3)


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (10_000_000_000, "10.00 USD"),
        (0, "0.00 USD"),
        (104_500, "0.000104500 USD"),
        (-2_500_000_000, "-2.50 USD"),
        (-1, "-0.000000001 USD"),
    ],
)
def test_money_is_shown_exactly(nanos: int, text: str) -> None:
    assert money(nanos, "USD") == text


@given(st.integers(min_value=1, max_value=2**63 - 1))
def test_what_is_shown_is_read_back_to_the_last_nano(nanos: int) -> None:
    assert nanos_of(money(nanos, "USD").split(" ")[0]) == nanos


@pytest.mark.parametrize(
    "amount", ["", "ten", "0", "-1", "1e-10", "NaN", "inf", "1e30", "0.0000000001"]
)
def test_what_is_no_amount_is_refused(amount: str) -> None:
    with pytest.raises(Failure, match="amount"):
        nanos_of(amount)


def test_moments_are_utc() -> None:
    assert moment(1_795_000_000) == "2026-11-18 11:06:40"
    assert moment(0) == "-"


def shown(width: int, columns: tuple[str, ...], rows: list[Any], optional: tuple[str, ...]) -> str:
    console = Console(width=width, file=io.StringIO())
    with patch.object(screen, "out", console), console.capture() as captured:
        print_table(columns, rows, optional)
    return captured.get()


@given(ROWS, st.integers(min_value=24, max_value=300))
def test_a_table_fits_the_screen_and_a_wide_one_leaves_nothing_out(
    rows: list[tuple[str, ...]], width: int
) -> None:
    table = shown(width, COLUMNS, rows, optional=("four", "two"))
    assert max(map(cell_len, table.splitlines())) <= width
    wide_enough = 4 * 2 * CELL_CHARS_MAX + 3 * screen.GAP_CELLS
    for name in COLUMNS if width >= wide_enough else ("one", "three"):
        assert name in table.splitlines()[0]


def test_the_first_optional_column_goes_first_and_only_if_it_must() -> None:
    columns, row = ("one", "two", "three"), ("1" * 10, "2" * 10, "3" * 10)
    for width, expected in ((34, "one two three"), (33, "one three"), (21, "three")):
        table = shown(width, columns, [row], optional=("two", "one"))
        assert table.splitlines()[0].split() == expected.split()
