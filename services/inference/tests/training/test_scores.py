"""Intervals hold the mean, shrink with the cases, and agree with known values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_inference.training.scores import accuracy, bootstrap


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_an_interval_holds_the_share_and_stays_between_0_and_1(right: list[bool]) -> None:
    score = accuracy([int(r) for r in right], [1] * len(right))
    rounding = 1e-9
    assert -rounding <= score.low <= score.mean + rounding
    assert score.mean - rounding <= score.high <= 1 + rounding
    assert score.n == len(right)


def test_wilson_of_81_in_263_is_the_published_one() -> None:
    """R. G. Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I."""
    score = accuracy([1] * 81 + [0] * 182, [1] * 263)
    assert (round(score.low, 4), round(score.high, 4)) == (0.2553, 0.3662)


def test_a_bootstrap_repeats_and_holds_the_mean() -> None:
    values = np.random.default_rng(1).random(300)
    score = bootstrap(values)
    assert score == bootstrap(values)
    assert score.low < score.mean < score.high
    assert score.high - score.low == pytest.approx(4 * values.std() / np.sqrt(300), rel=0.15)


def test_no_cases_are_refused() -> None:
    with pytest.raises(ValueError, match="one at least"):
        accuracy([], [])
