"""What fields may hold."""

from collections.abc import Callable

import pytest

from weir_billing.core import fields
from weir_billing.core.usage import WorkUsage, usage_of, work_of
from weir_kit.errors import InvalidArgument


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (
            fields.tenant_id,
            ["a", "ten_1.b-c", "x" * 128],
            ["", "a:b", "-a", "x" * 129, "a\n"],
        ),
        (fields.request_id, ["req_1", "a:b"], ["", ":a", "x" * 129, "a/b", "a\x00"]),
        (fields.model_name, ["*", "org/name:7b", "x" * 256], ["", "a b", "x" * 257, "a\n", "\x00"]),
        (fields.description, ["", "für Müller", "x" * 500], ["x" * 501, "a\nb"]),
    ],
)
def test_texts(check: Callable[[str], str], right: list[str], wrong: list[str]) -> None:
    assert [check(text) for text in right] == right
    for text in wrong:
        with pytest.raises(InvalidArgument) as caught:
            check(text)
        assert caught.value.field


def test_seconds_a_hold_lives() -> None:
    assert [fields.ttl_s(value) for value in (0, 1, 3600)] == [300, 1, 3600]
    for wrong in (-1, 3601):
        with pytest.raises(InvalidArgument):
            fields.ttl_s(wrong)


def test_a_page_is_a_hundred_items_unless_asked_and_never_above_a_thousand() -> None:
    assert [fields.page_size(value) for value in (0, 1, 5000)] == [100, 1, 1000]
    with pytest.raises(InvalidArgument):
        fields.page_size(-1)


@pytest.mark.parametrize(
    ("counts", "field"),
    [
        ((-1, 0, 0), "usage.input_tokens"),
        ((1, 0, -1), "usage.output_tokens"),
        ((1, 2, 0), "usage.cached_input_tokens"),
        ((1, -1, 0), "usage.cached_input_tokens"),
    ],
)
def test_usage_that_makes_no_sense_is_named(counts: tuple[int, int, int], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        usage_of(*counts, field="usage")
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("counts", "field"),
    [
        ((0, 1, 1), "max_work.requests"),
        ((2**31, 1, 1), "max_work.requests"),
        ((1, -1, 1), "max_work.items"),
        ((1, 2**31, 1), "max_work.items"),
        ((1, 1, -1), "max_work.compute_us"),
        ((1, 1, (2**31 - 1) * 10**6 + 1), "max_work.compute_us"),
    ],
)
def test_work_that_makes_no_sense_is_named(counts: tuple[int, int, int], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        work_of(*counts, field="max_work")
    assert caught.value.field == field


def test_work_is_written_for_people() -> None:
    assert str(WorkUsage(1, 12, 4_512)) == "1 request, 12 items, 0.004512 s of computing"
    assert str(WorkUsage(2, 1, 61_000_000)) == "2 requests, 1 item, 61.000000 s of computing"
