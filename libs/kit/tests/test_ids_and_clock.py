"""Ids do not repeat, seeded ones do; a manual clock moves when told."""

import re

import pytest

from weir_kit.clock import ManualClock, SystemClock
from weir_kit.ids import RandomIds, SeededIds


@pytest.mark.parametrize("ids", [RandomIds(), SeededIds()])
def test_an_id_is_its_prefix_and_24_characters(ids: RandomIds | SeededIds) -> None:
    assert re.fullmatch(r"req_[0-9a-z]{24}", ids.new("req"))


def test_random_ids_do_not_repeat() -> None:
    ids = RandomIds()
    assert len({ids.new("x") for _ in range(1000)}) == 1000


def test_seeded_ids_replay() -> None:
    one, two = SeededIds(7), SeededIds(7)
    assert [one.new("x") for _ in range(5)] == [two.new("x") for _ in range(5)]
    assert SeededIds(8).new("x") != SeededIds(7).new("x")


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(100.0)
    clock.advance(2.5)
    assert (clock.now_s(), clock.monotonic_s()) == (102.5, 102.5)
    with pytest.raises(AssertionError):
        clock.advance(-1)


def test_the_system_clock_goes_on() -> None:
    clock = SystemClock()
    assert clock.now_s() > 1_700_000_000
    assert clock.monotonic_s() <= clock.monotonic_s()
