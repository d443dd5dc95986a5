"""`weir-digits`: a small CNN for handwritten digits, learnt from 8x8 images.

Learns from scikit-learn's 1,797 digits, drawn large, bent, slanted, thinned and thickened, and laid
out as MNIST does (a box of 20 pixels, centre of mass in the middle). MNIST is only tested on.
"""

import gzip
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from weir_inference.training.export import Shipped, export_onnx, ship
from weir_inference.training.fit import Recipe, fit
from weir_inference.training.scores import accuracy

NAME = "weir-digits"
SIDE = 28
CANVAS = 56  # where digits are drawn before they shrink to SIDE
BOX = 20 / SIDE
SEED = 17
RECIPE = Recipe(n_steps=2600, rows=128, lr=2e-3, weight_decay=0.02, average_decay=0.99)


@dataclass(frozen=True)
class Digits:
    """Images fp32 [n, 1, height, width] from 0 to 1, white on black, and labels int64 [n]."""

    images: Tensor
    labels: Tensor


class DigitNet(nn.Module):
    """Three stages of convolutions; logits [batch, 10] of pixels [batch, 1, 28, 28]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *conv(1, 24), *conv(24, 32), nn.MaxPool2d(2),
            *conv(32, 64), *conv(64, 64), nn.MaxPool2d(2),
            *conv(64, 96),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.4), nn.Linear(96 * 49, 128), nn.ReLU(), nn.Dropout(0.4),
            nn.Linear(128, 10),
        )  # fmt: skip

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.features(pixels))  # type: ignore[no-any-return]


def conv(n_in: int, n_out: int) -> list[nn.Module]:
    return [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()]


def train(assets: Path, out: Path) -> None:
    """Train, score and write the folder of the model."""
    torch.manual_seed(SEED)
    started_s = time.monotonic()
    learn, held_out = sklearn_digits()
    model = DigitNet()
    fit_digits(model, learn, RECIPE)
    seconds = time.monotonic() - started_s
    shown = as_shown(held_out.images)
    axes = {"pixels": {0: "batch"}, "logits": {0: "batch"}}
    export_onnx(model, {"pixels": shown[:3]}, axes, out / "model.onnx")
    mnist = mnist_test(assets / "eval/mnist")
    read = predict(model, mnist.images)
    scores = {
        "MNIST test set": accuracy(read, mnist.labels.tolist()),
        "held-out sklearn digits": accuracy(predict(model, shown), held_out.labels.tolist()),
        "held-out sklearn digits, redrawn": accuracy(
            predict(model, redrawn(held_out.images)), held_out.labels.tolist()
        ),
        "MNIST test set, nearest image": accuracy(
            nearest(learn, mnist.images), mnist.labels.tolist()
        ),
        "MNIST test set, always the most frequent": accuracy(
            [int(mnist.labels.mode().values)] * len(read), mnist.labels.tolist()
        ),
    }
    card = {
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
        "steps": f"{RECIPE.n_steps:,}",
        "rows": str(RECIPE.rows),
        "lr": str(RECIPE.lr),
        "seed": str(SEED),
        "minutes": f"{seconds / 60:.0f}",
        "errors": errors_by_digit(read, mnist.labels),
    }
    preprocess = {"size": [SIDE, SIDE], "channels": "gray", "scale": 1 / 255}
    labels = [str(digit) for digit in range(10)]
    ship(out, Shipped(NAME, "image-classification", preprocess, scores, card, labels))


def fit_digits(model: nn.Module, learn: Digits, recipe: Recipe) -> list[float]:
    """Train on freshly drawn digits every step; returns the losses."""

    def loss_of_step(step: int) -> Tensor:
        del step
        rows = torch.randint(len(learn.labels), (recipe.rows,))
        logits = model(redrawn(learn.images[rows]))
        return F.cross_entropy(logits, learn.labels[rows], label_smoothing=0.05)

    return fit(model, loss_of_step, recipe)


def sklearn_digits() -> tuple[Digits, Digits]:
    """scikit-learn's digits as 96x96 images, 80 % to learn from and 20 % held out, stratified."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    small = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    # The margin lets bends and turns move ink without cutting it off.
    images = F.interpolate(F.pad(small, (2, 2, 2, 2)), size=96, mode="bicubic").clamp(0, 1)
    labels = torch.tensor(data.target, dtype=torch.int64)
    learn, held_out = train_test_split(
        np.arange(len(labels)), test_size=0.2, stratify=data.target, random_state=SEED
    )
    return Digits(images[learn], labels[learn]), Digits(images[held_out], labels[held_out])


def redrawn(images: Tensor) -> Tensor:
    """The same digits [n, 1, 28, 28] as other hands and pens would write them."""
    n = len(images)
    drawn = F.grid_sample(images, bent_grid(n), align_corners=False)
    inked = ink(drawn, sharpen=uniform(n, 0.4, 1.6), level=uniform(n, 0.15, 0.6))
    size = BOX * uniform(n, 0.85, 1.15)
    placed = laid_out(inked, size, shift=(torch.rand(n, 2) - 0.5) * 0.22)
    blurred = blur(placed, 0.6)
    share = uniform(n, 0.0, 0.7)
    strength = uniform(n, 0.85, 1.3)
    noise = torch.randn_like(placed) * uniform(n, 0.0, 0.06)
    return ((placed.lerp(blurred, share) * strength) + noise).clamp(0, 1)


def as_shown(images: Tensor) -> Tensor:
    """The digits [n, 1, 28, 28] laid out as MNIST does, otherwise unchanged."""
    n = len(images)
    grid = F.affine_grid(torch.eye(2, 3).expand(n, 2, 3), [n, 1, CANVAS, CANVAS], False)
    drawn = F.grid_sample(images, grid, align_corners=False)
    plain = torch.ones(n, 1, 1, 1)
    return laid_out(ink(drawn, plain, 0.35 * plain), BOX * plain, torch.zeros(n, 2)).clamp(0, 1)


def bent_grid(n: int) -> Tensor:
    """Where to look for each pixel [n, CANVAS, CANVAS, 2]: turn, slant, stretch, gentle bends."""
    angle, slant = torch.randn(n) * 0.13, torch.randn(n) * 0.22
    width = torch.exp(torch.rand(n) * 1.1 - 0.75)  # narrow digits are common in MNIST
    cos, sin, zero = torch.cos(angle), torch.sin(angle), torch.zeros(n)
    turn = torch.stack((cos, -sin, sin, cos), 1).view(n, 2, 2)
    shape = torch.stack((1 / width, slant, zero, torch.ones(n)), 1).view(n, 2, 2)
    matrix = torch.cat((turn @ shape, torch.zeros(n, 2, 1)), 2)
    grid = F.affine_grid(matrix, [n, 1, CANVAS, CANVAS], False)
    bends = F.interpolate(
        torch.randn(n, 2, 4, 4) * 0.07, size=CANVAS, mode="bicubic", align_corners=True
    )
    return grid + bends.permute(0, 2, 3, 1)


def ink(drawn: Tensor, sharpen: Tensor, level: Tensor) -> Tensor:
    """Strokes out of grey mountains: what rises over its surroundings and over a level."""
    ridge = drawn + sharpen * (drawn - blur(drawn, 5.0))
    top = ridge.amax((2, 3), keepdim=True).clamp_min(1e-3)
    return torch.sigmoid((ridge / top - level) * 14)


def laid_out(inked: Tensor, size: Tensor, shift: Tensor) -> Tensor:
    """Scaled so that the longer side is `size` of the picture, centre of mass in the middle.

    inked [n, 1, CANVAS, CANVAS], size [n, 1, 1, 1], shift [n, 2] in half widths; [n, 1, 28, 28].
    """
    n = len(inked)
    inked = (inked - 0.12).clamp_min(0) / 0.88
    axis = torch.linspace(-1 + 1 / CANVAS, 1 - 1 / CANVAS, CANVAS)
    mass = inked[:, 0].flatten(1).sum(1).clamp_min(1e-6)
    sides, centres = [], []
    for over in (1, 2):  # rows are summed away for x, columns for y
        profile = inked[:, 0].amax(over)
        there = profile > 0.3
        low = torch.where(there, axis, 1.0).amin(1)
        high = torch.where(there, axis, -1.0).amax(1)
        sides.append((high - low).clamp_min(0.1) / 2)
        centres.append((inked[:, 0].sum(over) * axis).sum(1) / mass)
    scale = torch.maximum(*sides) / size[:, 0, 0, 0]
    matrix = torch.zeros(n, 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = scale
    matrix[:, :, 2] = torch.stack(centres, 1) + shift * scale[:, None]
    grid = F.affine_grid(matrix, [n, 1, 2 * SIDE, 2 * SIDE], False)
    return F.avg_pool2d(F.grid_sample(inked, grid, align_corners=False), 2)


def blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian, sigma in pixels."""
    radius = max(1, round(2.5 * sigma))
    line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    line = line / line.sum()
    across = F.conv2d(images, line.view(1, 1, 1, -1), padding=(0, radius))
    return F.conv2d(across, line.view(1, 1, -1, 1), padding=(radius, 0))


def uniform(n: int, low: float, high: float) -> Tensor:
    """[n, 1, 1, 1], one number a picture."""
    return low + (high - low) * torch.rand(n, 1, 1, 1)


def mnist_test(folder: Path) -> Digits:
    """The 10,000 test digits, which nothing here learns from."""
    images = idx(folder / "t10k-images-idx3-ubyte.gz", 16).reshape(-1, 1, SIDE, SIDE)
    labels = idx(folder / "t10k-labels-idx1-ubyte.gz", 8)
    pixels = torch.from_numpy(images.astype(np.float32) / 255)
    return Digits(pixels, torch.from_numpy(labels.astype(np.int64)))


def idx(file: Path, header_bytes: int) -> NDArray[np.uint8]:
    with gzip.open(file) as data:
        return np.frombuffer(data.read(), dtype=np.uint8, offset=header_bytes)


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor) -> list[int]:
    """The likeliest digit of each image."""
    return [int(i) for part in torch.split(images, 500) for i in model(part).argmax(1)]


def nearest(learn: Digits, images: Tensor) -> list[int]:
    """The baseline: the label of the nearest learning image by squared pixel differences."""
    known = as_shown(learn.images).flatten(1)
    rows = [torch.cdist(part.flatten(1), known).argmin(1) for part in torch.split(images, 500)]
    return [int(digit) for digit in learn.labels[torch.cat(rows)]]


def errors_by_digit(read: list[int], labels: Tensor) -> str:
    """Wrong readings of a thousand for each digit, as a line."""
    wrong = torch.tensor(read) != labels
    parts = [f"{d}: {1000 * float(wrong[labels == d].float().mean()):.0f}" for d in range(10)]
    return ", ".join(parts)
