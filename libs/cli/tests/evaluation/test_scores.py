import math
import random
import statistics
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_cli.evaluation import scores
from weir_cli.evaluation.scores import (
    Labelled,
    Score,
    accuracy,
    macro_f1,
    mean,
    ndcg_at,
    perplexity,
    recall_at,
    roc_auc,
    share,
)

FEW = 25  # resamples, where each is also worked out the slow way
labels = st.frozensets(st.sampled_from("abc"), max_size=2)
cases = st.lists(st.builds(Labelled, labels, labels), min_size=1, max_size=9)


def slowly(drawn: Sequence[Any], of: Callable[[Sequence[Any]], float | None], seed: int) -> Score:
    """The score by its definition, on the cases written out as often as they were drawn."""
    chance = random.Random(seed)
    values = [of(drawn)]
    for _ in range(FEW - 1):
        values.append(of([drawn[i] for i in chance.choices(range(len(drawn)), k=len(drawn))]))
    known = [value for value in values if value is not None]
    cuts = statistics.quantiles(known, n=40, method="inclusive") if len(known) > 1 else known
    return Score(known[0], cuts[0], cuts[-1], len(drawn))


def close(found: Score, expected: Score) -> bool:
    pairs = ((found.value, expected.value), (found.low, expected.low), (found.high, expected.high))
    return found.n == expected.n and all(math.isclose(*pair, abs_tol=1e-9) for pair in pairs)


def test_a_share_has_wilson_s_interval() -> None:
    score = share([True] * 8 + [False] * 2)
    assert (score.value, score.n) == (0.8, 10)
    assert (score.low, score.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert share([True] * 4).high == pytest.approx(1)
    assert share([False] * 4).low == pytest.approx(0)


def test_accuracy_wants_all_labels_and_no_other() -> None:
    def case(truth: str, found: str) -> Labelled:
        return Labelled(frozenset(truth), frozenset(found))

    assert accuracy([case("a", "a"), case("a", "b"), case("ab", "a"), case("", "")]).value == 0.5


def test_macro_f1_by_hand() -> None:
    pairs = ("aa", "aa", "ab", "bb")
    score = macro_f1([Labelled(frozenset(truth), frozenset(found)) for truth, found in pairs], 0)
    # a: 2 right, 1 missed: 4/5. b: 1 right, 1 too many: 2/3.
    assert score.value == pytest.approx((4 / 5 + 2 / 3) / 2)


def slow_f1(some: Sequence[Labelled], labels: Collection[str]) -> float | None:
    each = []
    for label in labels:
        right = sum(label in case.truth and label in case.found for case in some)
        wrong = sum((label in case.truth) != (label in case.found) for case in some)
        if right or wrong:
            each.append(2 * right / (2 * right + wrong))
    return sum(each) / len(each) if each else None


@given(cases.filter(lambda some: any(case.truth for case in some)), st.integers(0, 9))
def test_macro_f1_and_its_interval_are_the_definition_s(some: list[Labelled], seed: int) -> None:
    labels = {label for case in some for label in case.truth}
    with patch.object(scores, "RESAMPLES", FEW):
        found = macro_f1(some, seed)
    assert close(found, slowly(some, partial(slow_f1, labels=labels), seed))


def slow_auc(some: Sequence[tuple[float, bool]]) -> float | None:
    won = [
        (a > b) + (a == b) / 2
        for a, is_positive in some
        if is_positive
        for b, is_other_positive in some
        if not is_other_positive
    ]
    return sum(won) / len(won) if won else None


def test_roc_auc_by_hand() -> None:
    # Of the four pairs one is lost, and one is a tie.
    assert roc_auc([0.1, 0.4, 0.4, 0.8], [False, True, False, True], seed=0).value == 3.5 / 4


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()), max_size=12).filter(
        lambda some: slow_auc(some) is not None
    ),
    st.integers(0, 9),
)
def test_roc_auc_and_its_interval_are_the_definition_s(
    some: list[tuple[float, bool]], seed: int
) -> None:
    with patch.object(scores, "RESAMPLES", FEW):
        found = roc_auc([score for score, _ in some], [truth for _, truth in some], seed)
    assert close(found, slowly(some, slow_auc, seed))


def test_roc_auc_wants_cases_of_both_kinds() -> None:
    with pytest.raises(ValueError, match="no such score"):
        roc_auc([0.1, 0.9], [True, True], seed=0)


def test_ndcg_and_recall_by_hand() -> None:
    ranked, gains = ["x", "a", "y", "b"], {"a": 1.0, "b": 2.0, "c": 1.0}
    found = 1 / math.log2(3) + 2 / math.log2(5)
    best = 2 + 1 / math.log2(3) + 1 / math.log2(4)
    assert ndcg_at(10, ranked, gains) == pytest.approx(found / best)
    assert ndcg_at(1, ranked, gains) == 0
    assert recall_at(10, ranked, gains) == 2 / 3
    assert recall_at(2, ranked, gains) == 1 / 3


@given(st.permutations("abcdef"), st.dictionaries(st.sampled_from("abcdef"), st.floats(0.5, 3)))
def test_no_order_has_more_gain_than_the_best(ranked: list[str], gains: dict[str, float]) -> None:
    if not gains:
        with pytest.raises(ValueError, match="one at least"):
            ndcg_at(3, ranked, gains)
        return
    best = sorted(ranked, key=lambda item: -gains.get(item, 0.0))
    assert ndcg_at(3, ranked, gains) <= ndcg_at(3, best, gains) == pytest.approx(1)


def test_perplexity_weighs_every_token_alike() -> None:
    half, eighth = math.log(1 / 2), math.log(1 / 8)
    assert perplexity([[half] * 3, [eighth]], seed=0).value == pytest.approx(2 ** (6 / 4))
    assert perplexity([[-1000.0]], seed=0).value == math.inf


texts = st.lists(st.lists(st.floats(-9, 0), max_size=4), min_size=1, max_size=8)


def slow_perplexity(some: Sequence[Sequence[float]]) -> float | None:
    tokens = [token for text in some for token in text]
    return math.exp(-sum(tokens) / len(tokens)) if tokens else None


@given(texts.filter(any), st.integers(0, 9))
def test_perplexity_and_its_interval_are_the_definition_s(
    some: list[list[float]], seed: int
) -> None:
    with patch.object(scores, "RESAMPLES", FEW):
        assert close(perplexity(some, seed), slowly(some, slow_perplexity, seed))


def test_a_bootstrap_s_interval_is_near_the_normal_one_and_repeats() -> None:
    values = [float(i % 2) for i in range(400)]
    score = mean(values, seed=3)
    assert score == mean(values, seed=3) != mean(values, seed=4)
    assert score.value == 0.5
    assert (score.low, score.high) == pytest.approx((0.451, 0.549), abs=0.006)


def test_no_cases_have_no_score() -> None:
    for empty in (lambda: share([]), lambda: mean([], 0), lambda: macro_f1([], 0)):
        with pytest.raises(ValueError, match="one at least"):
            empty()
