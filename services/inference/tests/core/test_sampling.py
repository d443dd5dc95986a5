"""Sampling parameters are in range or refused by name."""

import math

import pytest

from weir_inference.core.sampling import Sampling
from weir_kit.errors import InvalidArgument


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"temperature": -0.1}, "sampling.temperature"),
        ({"temperature": 2.1}, "sampling.temperature"),
        ({"temperature": math.nan}, "sampling.temperature"),
        ({"top_p": 0.0}, "sampling.top_p"),
        ({"top_p": 1.1}, "sampling.top_p"),
        ({"top_p": math.nan}, "sampling.top_p"),
        ({"top_k": -1}, "sampling.top_k"),
        ({"seed": -1}, "sampling.seed"),
        ({"seed": 2**64}, "sampling.seed"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(values: dict[str, float], field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        Sampling(**values)  # type: ignore[arg-type]
    assert refused.value.field == field


def test_the_edges_of_the_ranges_are_allowed() -> None:
    Sampling(temperature=0.0, top_p=1e-6, top_k=0, seed=0)
    Sampling(temperature=2.0, top_p=1.0, top_k=10**6, seed=2**64 - 1)


def test_a_temperature_too_cold_to_divide_by_is_greedy() -> None:
    assert Sampling(temperature=0.0).greedy
    assert Sampling(temperature=1e-9).greedy
    assert not Sampling(temperature=0.01).greedy
