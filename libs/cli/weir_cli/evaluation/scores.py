"""Scores, each with its 95 % interval.

Shares of independent cases have Wilson's interval. All other scores have a percentile bootstrap's:
the cases are drawn again, with replacement, 1,000 times from a seeded generator, and the interval
is from the 2.5th to the 97.5th percentile of the scores of what was drawn (B. Efron, 1979).
"""

import math
import random
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

Z_95 = 1.959964
RESAMPLES = 1000

Statistic = Callable[[Sequence[int]], float | None]
"""A score of cases of which each counts so often; None where it has no value."""


@dataclass(frozen=True)
class Score:
    """A score over `n` cases and its 95 % interval."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Labelled:
    """The labels that a case has, and those that were found."""

    truth: frozenset[str]
    found: frozenset[str]


def share(right: Sequence[bool]) -> Score:
    """The share that is right, with Wilson's interval (E. B. Wilson, 1927)."""
    n = len(right)
    _require(n)
    p = sum(right) / n
    centre = (p + Z_95**2 / (2 * n)) / (1 + Z_95**2 / n)
    spread = math.sqrt(p * (1 - p) / n + Z_95**2 / (4 * n**2)) / (1 + Z_95**2 / n) * Z_95
    return Score(p, max(0.0, centre - spread), min(1.0, centre + spread), n)


def accuracy(cases: Sequence[Labelled]) -> Score:
    """The share whose found labels are all of the true ones and no other."""
    return share([case.truth == case.found for case in cases])


def macro_f1(cases: Sequence[Labelled], seed: int) -> Score:
    """The mean over labels of 2 TP / (2 TP + FP + FN): every label weighs the same.

    The labels are the true ones: one that is only ever found is an error in them, and no class of
    its own.
    """
    labels = {label for case in cases for label in case.truth}

    def statistic(counts: Sequence[int]) -> float | None:
        true_positives: dict[str, int] = {}
        mentions: dict[str, int] = {}  # 2 TP + FP + FN: how often a label is true, and found
        for case, count in zip(cases, counts, strict=True):
            if count:
                for label in case.truth:
                    mentions[label] = mentions.get(label, 0) + count
                for label in case.found & labels:
                    mentions[label] = mentions.get(label, 0) + count
                    if label in case.truth:
                        true_positives[label] = true_positives.get(label, 0) + count
        scores = [2 * true_positives.get(label, 0) / n for label, n in mentions.items()]
        return sum(scores) / len(scores) if scores else None

    return bootstrap(len(cases), statistic, seed)


def roc_auc(scores: Sequence[float], truth: Sequence[bool], seed: int) -> Score:
    """How often a positive case scores above a negative one; a tie counts half.

    Raises ValueError unless there are cases of both kinds.
    """
    order = sorted(range(len(scores)), key=lambda i: scores[i])
    ends = [
        place + 1
        for place, i in enumerate(order)
        if place + 1 == len(order) or scores[order[place + 1]] != scores[i]
    ]
    positive = [int(truth[i]) for i in order]
    negative = [1 - one for one in positive]

    def statistic(counts: Sequence[int]) -> float | None:
        sorted_counts = [counts[i] for i in order]
        # How many there are of each kind before a place.
        positives: list[int] = [0, *accumulate(map(mul, sorted_counts, positive))]
        negatives: list[int] = [0, *accumulate(map(mul, sorted_counts, negative))]
        pairs = positives[-1] * negatives[-1]
        if not pairs:
            return None
        start, twice_won = 0, 0
        for end in ends:  # a group of equal scores each
            won = positives[end] - positives[start]
            twice_won += won * (negatives[start] + negatives[end])
            start = end
        return twice_won / (2 * pairs)

    return bootstrap(len(scores), statistic, seed)


def ndcg_at(k: int, ranked: Sequence[str], gains: Mapping[str, float]) -> float:
    """Discounted gain of the first `k`, as a share of the best possible one.

    A gain at place i counts for 1 / log2(i + 1) (K. Järvelin and J. Kekäläinen, 2002); what has
    no entry has no gain. Raises ValueError unless something has.
    """
    best = _discounted(sorted(gains.values(), reverse=True)[:k])
    _require(best > 0)
    return _discounted([gains.get(item, 0.0) for item in ranked[:k]]) / best


def recall_at(k: int, ranked: Sequence[str], relevant: Collection[str]) -> float:
    """The share of the relevant ones that is among the first `k`."""
    _require(len(relevant))
    return len(set(ranked[:k]) & set(relevant)) / len(relevant)


def mean(values: Sequence[float], seed: int) -> Score:
    """The mean of a value a case, as of NDCG and recall."""
    return bootstrap(len(values), lambda counts: sum(map(mul, counts, values)) / sum(counts), seed)


def perplexity(texts: Sequence[Sequence[float]], seed: int) -> Score:
    """exp of the mean negative natural log-probability of all tokens of all texts.

    Tokens weigh the same, so long texts weigh more. Texts, not tokens, are drawn again: the tokens
    of a text are not independent. `n` counts texts.
    """
    sums, lengths = [sum(text) for text in texts], [len(text) for text in texts]

    def statistic(counts: Sequence[int]) -> float | None:
        n_tokens = sum(map(mul, counts, lengths))
        logprob: float = sum(map(mul, counts, sums))
        return _exp(-logprob / n_tokens) if n_tokens else None

    return bootstrap(len(texts), statistic, seed)


def bootstrap(n: int, statistic: Statistic, seed: int) -> Score:
    """A statistic of `n` cases; resamples for which it has no value are passed over.

    Raises ValueError if it has none for the cases themselves.
    """
    _require(n)
    value = statistic([1] * n)
    if value is None:
        raise ValueError("these cases have no such score")
    chance = random.Random(seed)  # noqa: S311 - repeats, and guards nothing
    found = [value]  # the cases themselves are a resample too; quantiles want two values
    for _ in range(RESAMPLES - 1):
        counts = [0] * n
        for i in chance.choices(range(n), k=n):
            counts[i] += 1
        one = statistic(counts)
        if one is not None:
            found.append(one)
    if len(found) == 1:
        return Score(value, value, value, n)
    quantiles = statistics.quantiles(found, n=40, method="inclusive")
    return Score(value, quantiles[0], quantiles[-1], n)


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains))


def _exp(x: float) -> float:
    """e to the x; infinite where that is too large to be told."""
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def _require(there: int | bool) -> None:
    if not there:
        raise ValueError("no cases: one at least")
