"""Sampling parameters are in range or refused by name."""

import math
from typing import Any

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
        ({"min_p": -0.1}, "sampling.min_p"),
        ({"min_p": 1.1}, "sampling.min_p"),
        ({"min_p": math.nan}, "sampling.min_p"),
        ({"repetition_penalty": 0.0}, "sampling.repetition_penalty"),
        ({"repetition_penalty": 2.1}, "sampling.repetition_penalty"),
        ({"repetition_penalty": math.nan}, "sampling.repetition_penalty"),
        ({"presence_penalty": -2.1}, "sampling.presence_penalty"),
        ({"presence_penalty": math.nan}, "sampling.presence_penalty"),
        ({"frequency_penalty": 2.1}, "sampling.frequency_penalty"),
        ({"frequency_penalty": -math.inf}, "sampling.frequency_penalty"),
        ({"logit_bias": ((3, 100.5),)}, "sampling.logit_bias"),
        ({"logit_bias": ((3, 1.0), (4, math.nan))}, "sampling.logit_bias"),
        ({"logit_bias": tuple((n, 1.0) for n in range(1025))}, "sampling.logit_bias"),
        ({"stop_token_ids": tuple(range(65))}, "sampling.stop_token_ids"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(values: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        Sampling(**values)
    assert refused.value.field == field


def test_the_edges_of_the_ranges_are_allowed() -> None:
    Sampling(temperature=0.0, top_p=1e-6, top_k=0, seed=0)
    Sampling(temperature=2.0, top_p=1.0, top_k=10**6, seed=2**64 - 1)
    Sampling(min_p=0.0, repetition_penalty=1e-3, presence_penalty=-2.0, frequency_penalty=-2.0)
    Sampling(min_p=1.0, repetition_penalty=2.0, presence_penalty=2.0, frequency_penalty=2.0)
    Sampling(
        logit_bias=tuple((n, 100.0 * (-1) ** n) for n in range(1024)),
        stop_token_ids=tuple(range(64)),
    )


def test_a_temperature_too_cold_to_divide_by_is_greedy() -> None:
    assert Sampling(temperature=0.0).greedy
    assert Sampling(temperature=1e-9).greedy
    assert not Sampling(temperature=0.01).greedy
