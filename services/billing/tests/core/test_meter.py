"""Meter records: read strictly, charged by the published rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_billing.core.meter import MeterRecord, chargeable, meter_record_of
from weir_billing.core.usage import TokenUsage, WorkUsage
from weir_kit.errors import InvalidArgument

GOOD = {
    "request_id": "req_1",
    "tenant_id": "a",
    "model": "tales",
    "input_tokens": "7",
    "output_tokens": "3",
    "reason": "stop",
    "at_s": "1800000000.25",
}
PREDICTION = {
    **GOOD,
    "input_tokens": "0",
    "output_tokens": "0",
    "items": "12",
    "compute_us": "4512",
    "model_version": "3",
}


def test_a_good_message_is_a_record() -> None:
    record = MeterRecord("req_1", "a", "tales", 7, 3, "stop", 1800000000.25)
    assert meter_record_of(GOOD) == record
    assert meter_record_of({**GOOD, "more": "is fine"}) == record
    predicted = MeterRecord("req_1", "a", "tales", 0, 0, "stop", 1800000000.25, 12, 4512)
    assert meter_record_of(PREDICTION) == predicted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("request_id", ""),
        ("tenant_id", "a:b"),
        ("model", "two words"),
        ("input_tokens", "-1"),
        ("input_tokens", "²"),
        ("output_tokens", "1e3"),
        ("output_tokens", "9999999999"),
        ("reason", "bored"),
        ("at_s", "nan"),
        ("at_s", "yesterday"),
        ("at_s", "1800000000000"),
    ],
)
def test_a_malformed_field_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        meter_record_of({**GOOD, name: value})
    assert caught.value.field == name
    without = {key: kept for key, kept in GOOD.items() if key != name}
    with pytest.raises(InvalidArgument) as caught:
        meter_record_of(without)
    assert caught.value.field == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("items", "-1"),
        ("items", "2147483648"),
        ("items", ""),
        ("compute_us", "1.5"),
        ("compute_us", "2147483647000001"),
        ("compute_us", "9" * 5000),
    ],
)
def test_a_malformed_count_of_work_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        meter_record_of({**PREDICTION, name: value})
    assert caught.value.field == name


@given(st.dictionaries(st.sampled_from(sorted(PREDICTION)), st.text(max_size=20)))
def test_any_message_is_a_record_or_a_clear_error(changes: dict[str, str]) -> None:
    try:
        record = meter_record_of({**PREDICTION, **changes})
    except InvalidArgument as error:
        assert error.field in changes
    else:
        assert "\x00" not in record.request_id + record.tenant_id + record.model


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_what_finished_is_charged_in_full(reason: str) -> None:
    assert chargeable(MeterRecord("r", "a", "m", 7, 0, reason, 0.0)) == TokenUsage(7, 0)
    assert chargeable(MeterRecord("r", "a", "m", 0, 0, reason, 0.0, 12, 9)) == WorkUsage(1, 12, 9)


@pytest.mark.parametrize("reason", ["cancelled", "deadline", "error"])
def test_what_broke_off_is_free_before_its_first_token(reason: str) -> None:
    assert chargeable(MeterRecord("r", "a", "m", 7, 0, reason, 0.0)) is None
    assert chargeable(MeterRecord("r", "a", "m", 7, 1, reason, 0.0)) == TokenUsage(7, 1)
    assert chargeable(MeterRecord("r", "a", "m", 0, 0, reason, 0.0, 12, 9)) is None
