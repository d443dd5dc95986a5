"""Boxes in pictures: where they lie, which of them mean the same thing."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Corners: TypeAlias = NDArray[np.float32]  # [n, 4]: x_min, y_min, x_max, y_max


@dataclass(frozen=True)
class Placement:
    """How a picture of `width` x `height` pixels lies in a model's input.

    A point x of the picture is at x · scale_x + left there, y alike.
    """

    width: int
    height: int
    scale_x: float
    scale_y: float
    left: float
    top: float

    def in_picture(self, boxes: Corners) -> Corners:
        """Boxes of the model's input in the picture's pixels, cut at its edges."""
        offset = np.array([self.left, self.top] * 2, np.float32)
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        edges = np.array([self.width, self.height] * 2, np.float32)
        return np.clip((boxes - offset) / scale, 0, edges)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Found:
    """Boxes [n, 4] in pixels of a model's input, their scores [n] and classes [n]."""

    boxes: Corners
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]

    def only(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> "Found":
        """Those of a mask, or of indices in their order."""
        return Found(self.boxes[which], self.scores[which], self.classes[which])


def corners(centred: NDArray[np.float32]) -> Corners:
    """Boxes given by centre, width and height."""
    half = centred[:, 2:4] / 2
    return np.concatenate((centred[:, :2] - half, centred[:, :2] + half), 1)


def without_doubles(found: Found, iou: float, n_max: int) -> Found:
    """The surest `n_max`, none of which overlaps a surer one of its class by `iou` or more.

    Greedy non-maximum suppression; of equal scores the first is surer.
    """
    found = found.only(np.argsort(-found.scores, kind="stable"))
    waiting = np.arange(len(found.scores))
    kept: list[int] = []
    while len(waiting) and len(kept) < n_max:
        surest, waiting = waiting[0], waiting[1:]
        kept.append(int(surest))
        same = found.classes[waiting] == found.classes[surest]
        doubles = same & (overlaps(found.boxes[surest], found.boxes[waiting]) >= iou)
        waiting = waiting[~doubles]
    return found.only(np.array(kept, np.int64))


def overlaps(box: Corners, others: Corners) -> NDArray[np.float32]:
    """Intersection over union of a box [4] with each of others [n, 4]; 0 where both are empty."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    both = area(box) + area(others) - shared
    return shared / np.where(both > 0, both, 1)  # type: ignore[no-any-return]


def area(boxes: Corners) -> NDArray[np.float32]:
    """Of boxes [..., 4]; 0 where the corners are the wrong way round."""
    return np.clip(boxes[..., 2:] - boxes[..., :2], 0, None).prod(-1)  # type: ignore[no-any-return]
