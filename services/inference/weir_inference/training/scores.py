"""Scores with 95 % intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959964
N_RESAMPLES = 2000


@dataclass(frozen=True)
class Score:
    """A mean over `n` cases and its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


def accuracy(predicted: Sequence[int], expected: Sequence[int]) -> Score:
    """The share that is right, with Wilson's interval (E. B. Wilson, 1927)."""
    n = len(expected)
    if n == 0 or len(predicted) != n:
        raise ValueError(f"{len(predicted)} predictions for {n} cases: as many, and one at least")
    share = sum(int(p == e) for p, e in zip(predicted, expected, strict=True)) / n
    centre = (share + Z_95**2 / (2 * n)) / (1 + Z_95**2 / n)
    spread = math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2)) / (1 + Z_95**2 / n) * Z_95
    return Score(share, centre - spread, centre + spread, n)


def bootstrap(values: NDArray[np.float64], seed: int = 0) -> Score:
    """The mean of [n] values, with the percentile interval of resampled means."""
    if len(values) == 0:
        raise ValueError("no values: one at least")
    random = np.random.default_rng(seed)
    n = len(values)
    means = np.array([values[random.integers(0, n, n)].mean() for _ in range(N_RESAMPLES)])
    low, high = np.quantile(means, [0.025, 0.975])
    return Score(float(values.mean()), float(low), float(high), n)
