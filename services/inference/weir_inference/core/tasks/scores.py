"""From a model's numbers to the classes that are told."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from weir_inference.core.prediction import Classes, PredictionOptions, ScoredClass
from weir_inference.core.processing import Activation, Postprocess
from weir_inference.core.tensors import Tensor
from weir_kit.errors import Internal

Floats = NDArray[np.float32]


def activated(numbers: Tensor, activation: Activation) -> Floats:
    """Scores fp32 of numbers [..., classes]."""
    x = numbers.astype(np.float32)
    match activation:
        case Activation.SOFTMAX:
            powers = np.exp(x - x.max(-1, keepdims=True))
            return powers / powers.sum(-1, keepdims=True)  # type: ignore[no-any-return]
        case Activation.SIGMOID:
            return sigmoid(x)
        case Activation.NONE:
            return x


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + e^-x), of tanh, which does not overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))  # type: ignore[no-any-return]


def two_columns(numbers: Tensor, activation: Activation) -> Floats:
    """Scores [rows, 2] of a model of two classes that may give one number, the second's, a row."""
    if numbers.ndim == 1:
        numbers = numbers[:, None]
    if numbers.shape[-1] != 1:
        return activated(numbers, activation)
    second = activated(
        numbers, Activation.NONE if activation is Activation.NONE else Activation.SIGMOID
    )
    return np.concatenate((1 - second, second), -1)


def top_classes(
    scores: Floats, labels: Sequence[str], told: PredictionOptions, own: Postprocess
) -> Classes:
    """The likeliest of scores [classes], of ties the first; as many and as sure as is wanted.

    Raises `Internal` for scores that are not one a label.
    """
    check_columns(scores.shape[-1], labels)
    if np.isnan(scores).any():
        raise Internal("the model gave a score that is not a number")
    least = own.threshold if told.min_score is None else told.min_score
    order = np.argsort(-scores, kind="stable")[: told.top_k or own.top_k]
    return Classes(
        tuple(
            ScoredClass(labels[i], float(scores[i]))
            for i in order
            if least is None or scores[i] >= least
        )
    )


def check_columns(n_columns: int, labels: Sequence[str]) -> None:
    """Raises `Internal` where a model whose shape left it open gives more or fewer than labels."""
    if n_columns != len(labels):
        raise Internal(f"the model gives {n_columns} scores and has {len(labels)} labels")
