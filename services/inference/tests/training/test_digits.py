"""weir-digits reads what it never saw, and its training learns."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession

from weir_inference.training.digits import DigitNet, Digits, fit_digits, mnist_test, redrawn
from weir_inference.training.fit import Recipe

CARD_SCORES = Path(__file__).parents[2] / "models/weir-digits/1/scores.json"
Start = Callable[..., InferenceSession]


def stroke(*points: tuple[int, int]) -> np.ndarray:
    """A picture [1, 1, 28, 28] of straight lines between (row, column) points."""
    picture = np.zeros((1, 1, 28, 28), np.float32)
    for (y0, x0), (y1, x1) in pairwise(points):
        for t in np.linspace(0, 1, 40):
            y, x = round(y0 + t * (y1 - y0)), round(x0 + t * (x1 - x0))
            picture[0, 0, y : y + 2, x : x + 2] = 1.0
    return picture


@pytest.mark.parametrize(
    ("digit", "points"),
    [
        (0, [(5, 13), (9, 8), (18, 8), (22, 13), (18, 18), (9, 18), (5, 13)]),
        (1, [(4, 14), (23, 13)]),
        (4, [(4, 10), (14, 8), (14, 19), (5, 18), (23, 17)]),
        (5, [(5, 19), (5, 10), (12, 9), (12, 16), (17, 19), (22, 15), (22, 9)]),
    ],
)
def test_a_digit_drawn_by_hand_is_read(
    session: Start, digit: int, points: list[tuple[int, int]]
) -> None:
    logits = session("weir-digits").run(None, {"pixels": stroke(*points)})[0]
    assert logits.argmax() == digit


def test_the_score_of_the_card_holds_on_a_part_of_mnist(session: Start, assets: Path) -> None:
    mnist = mnist_test(assets / "eval/mnist")
    logits = session("weir-digits").run(None, {"pixels": mnist.images[:1000].numpy()})[0]
    share = float((logits.argmax(1) == mnist.labels[:1000].numpy()).mean())
    told = json.loads(CARD_SCORES.read_text())["MNIST test set"]["mean"]
    assert abs(share - told) < 0.04


def test_the_loss_falls() -> None:
    torch.manual_seed(0)
    bars = torch.zeros(2, 1, 96, 96)
    bars[0, 0, 30:66, 44:52] = bars[1, 0, 44:52, 30:66] = 1.0
    losses = fit_digits(
        DigitNet(), Digits(bars, torch.tensor([1, 7])), Recipe(n_steps=8, rows=16, lr=3e-3)
    )
    assert losses[-1] < losses[0] / 2


def test_redrawn_digits_keep_their_ink_inside() -> None:
    torch.manual_seed(0)
    bars = torch.zeros(50, 1, 96, 96)
    bars[:, :, 30:66, 44:52] = 1.0
    pictures = redrawn(bars)
    assert pictures.shape == (50, 1, 28, 28)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert (pictures.amax((1, 2, 3)) > 0.5).all()
    assert pictures[:, :, [0, -1]].mean() < 0.05
