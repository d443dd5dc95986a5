"""From what detection models give for one picture to boxes: one function for each `Decoder`."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import ceil
from typing import TypeAlias

import numpy as np

from weir_inference.core.processing import Activation, Decoder
from weir_inference.core.tasks.boxes import Found, corners
from weir_inference.core.tasks.scores import Floats, activated
from weir_inference.core.tensors import Tensor
from weir_kit.errors import Internal

# (outputs of one picture, size of the model's input [height, width], number of labels, activation)
Decode: TypeAlias = Callable[[Sequence[Tensor], tuple[int, int], int, Activation], Found]

BOX, OBJECTNESS = 4, 1  # columns
PRIOR_SIDES = {8: (10, 16, 24), 16: (32, 48), 32: (64, 96), 64: (128, 192, 256)}  # by stride
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2
EXPONENT_MAX = 16.0  # no box is larger, and none overflows
OBJECTNESS_POWER, CLASS_POWER = 0.6, 0.4  # FastestDet weighs the two so


def ultraface(
    outputs: Sequence[Tensor], size: tuple[int, int], n_labels: int, activation: Activation
) -> Found:
    """Scores [n, 1 + labels], background first, and boxes [n, 4] as offsets from `priors(size)`.

    https://github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB, exported without its
    post-processing; the offsets are those of SSD (Liu et al. 2016).
    """
    scores, offsets = outputs
    usual = priors(*size)
    _check(scores.shape[-1] == 1 + n_labels and offsets.shape == usual.shape)
    x = offsets.astype(np.float32)
    centres = usual[:, :2] + x[:, :2] * CENTRE_VARIANCE * usual[:, 2:]
    sizes = usual[:, 2:] * np.exp(np.minimum(x[:, 2:] * SIZE_VARIANCE, EXPONENT_MAX))
    boxes = corners(np.concatenate((centres, sizes), 1))
    return _surest(boxes, activated(scores, activation)[:, 1:])


@lru_cache(maxsize=8)
def priors(height: int, width: int) -> Floats:
    """The boxes [n, 4] that ultraface starts from: centre, width and height in pixels."""
    found = []
    for stride, sides in PRIOR_SIDES.items():
        y, x, side = np.meshgrid(
            (np.arange(ceil(height / stride)) + 0.5) * stride,
            (np.arange(ceil(width / stride)) + 0.5) * stride,
            sides,
            indexing="ij",
        )
        found.append(np.stack((x, y, side, side), -1).reshape(-1, 4))
    edges = np.array([width, height, width, height])
    boxes: Floats = np.minimum(np.concatenate(found), edges).astype(np.float32)
    boxes.flags.writeable = False  # it is shared
    return boxes


def fastestdet(
    outputs: Sequence[Tensor], size: tuple[int, int], n_labels: int, activation: Activation
) -> Found:
    """Cells [n, 5 + labels]: a box by its centre in pixels, whether a thing is there, its class.

    https://github.com/dog-qiuqiu/FastestDet, exported with its grid decoded.
    """
    (cells,) = outputs
    _check(cells.shape[-1] == BOX + OBJECTNESS + n_labels)
    objectness = activated(cells[:, BOX : BOX + OBJECTNESS], activation)
    classes = activated(cells[:, BOX + OBJECTNESS :], activation)
    scores = objectness**OBJECTNESS_POWER * classes**CLASS_POWER
    return _surest(corners(cells[:, :BOX].astype(np.float32)), scores)


def yolo(
    outputs: Sequence[Tensor], size: tuple[int, int], n_labels: int, activation: Activation
) -> Found:
    """Boxes [n, 4 + labels], or [n, 5 + labels] with objectness, or either one transposed.

    Boxes are given by their centre in pixels.
    """
    (table,) = outputs
    columns = (BOX + n_labels, BOX + OBJECTNESS + n_labels)
    if table.shape[-1] not in columns:
        table = table.T
    _check(table.shape[-1] in columns)
    scores = activated(table[:, table.shape[-1] - n_labels :], activation)
    if table.shape[-1] == BOX + OBJECTNESS + n_labels:
        scores = scores * activated(table[:, BOX : BOX + OBJECTNESS], activation)
    return _surest(corners(table[:, :BOX].astype(np.float32)), scores)


DECODERS: dict[Decoder, Decode] = {
    Decoder.ULTRAFACE: ultraface,
    Decoder.FASTESTDET: fastestdet,
    Decoder.YOLO: yolo,
}


def _surest(boxes: Floats, scores: Floats) -> Found:
    """Each box with its likeliest class."""
    classes = scores.argmax(-1)
    return Found(boxes, scores[np.arange(len(scores)), classes], classes)


def _check(fits: bool) -> None:
    if not fits:
        raise Internal("the model's boxes do not fit its labels and decoder")
