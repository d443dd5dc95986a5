"""Mean average precision of boxes, as COCO defines it.

Per class and IoU threshold the surest boxes are matched first, each to the true box that it covers
best and that is still free; precision is read off at 101 recalls and averaged over them, then over
classes and thresholds (T.-Y. Lin et al., 2014; github.com/cocodataset/cocoapi).
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul, truediv

from weir_cli.evaluation.scores import Score, bootstrap

THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))
BOXES_MAX = 100  # of a class in a picture: the surest


@dataclass(frozen=True)
class Box:
    """A thing in a picture, in pixels from its upper left corner; `score` is 1 for true boxes."""

    label: str
    x_min: float
    y_min: float
    x_max: float
    y_max: float
    score: float = 1.0


@dataclass(frozen=True)
class Boxed:
    """A picture: the boxes that are true, and those that were found."""

    truth: tuple[Box, ...]
    found: tuple[Box, ...]


@dataclass(frozen=True)
class Matched:
    """The found boxes of one class at one threshold, the surest first.

    `pictures`: where each was found; `right`: 1 for what met a true box; `n_true`: how many true
    boxes each picture has.
    """

    pictures: Sequence[int]
    right: Sequence[int]
    n_true: Sequence[int]


def mean_average_precision(
    pictures: Sequence[Boxed], seed: int, thresholds: Sequence[float] = THRESHOLDS
) -> Score:
    """mAP over the thresholds: all ten for mAP@[.5:.95], 0.5 alone for mAP@.5.

    Classes without a true box are passed over. Raises ValueError if no picture has one.
    """
    labels = sorted({box.label for picture in pictures for box in picture.truth})
    matched = [matches(pictures, label, at) for label in labels for at in thresholds]

    def statistic(counts: Sequence[int]) -> float | None:
        precisions = [average_precision(one, counts) for one in matched]
        known = [one for one in precisions if one is not None]
        return sum(known) / len(known) if known else None

    return bootstrap(len(pictures), statistic, seed)


def matches(pictures: Sequence[Boxed], label: str, threshold: float) -> Matched:
    """Match the boxes of one class, picture by picture."""
    rows: list[tuple[float, int, int]] = []
    for place, picture in enumerate(pictures):
        truth = [box for box in picture.truth if box.label == label]
        found = sorted(
            (box for box in picture.found if box.label == label), key=lambda box: -box.score
        )[:BOXES_MAX]
        right = _right(truth, found, threshold)
        rows += [(box.score, place, one) for box, one in zip(found, right, strict=True)]
    rows.sort(key=lambda row: -row[0])
    return Matched(
        [place for _, place, _ in rows],
        [right for _, _, right in rows],
        [sum(box.label == label for box in picture.truth) for picture in pictures],
    )


def _right(truth: Sequence[Box], found: Sequence[Box], threshold: float) -> list[int]:
    """Of each found box, whether it met a true one; a true box is met once."""
    free = list(truth)
    right = []
    for box in found:
        # Of two that it covers alike, COCO takes the later.
        met = max(reversed(free), key=lambda true: iou(true, box), default=None)
        if met is not None and iou(met, box) >= threshold:
            free.remove(met)
            right.append(1)
        else:
            right.append(0)
    return right


def average_precision(matched: Matched, counts: Sequence[int]) -> float | None:
    """The mean of the precision at recalls 0, 0.01 … 1 if each picture counts so often.

    Precision at a recall is the best at that recall or beyond. None without a true box.
    """
    n_true: int = sum(map(mul, counts, matched.n_true))
    if not n_true:
        return None
    weights = [counts[place] for place in matched.pictures]
    right: list[int] = list(accumulate(map(mul, weights, matched.right)))
    seen = accumulate(weights)
    # Boxes before the first that counts divide 0 by 0: none of them is right.
    precisions: list[float] = list(map(truediv, right, (n or 1 for n in seen)))
    best: list[float] = list(accumulate(reversed(precisions), max))[::-1]
    recalls = [n / n_true for n in right]
    # Rounded as by COCO's own program, where 7 of 100 is a little less than a recall of 0.07.
    places = [bisect_left(recalls, percent * 0.01) for percent in range(101)]
    return sum(best[place] for place in places if place < len(best)) / len(places)


def iou(a: Box, b: Box) -> float:
    """Intersection over union; 0 where both are empty."""
    width = min(a.x_max, b.x_max) - max(a.x_min, b.x_min)
    height = min(a.y_max, b.y_max) - max(a.y_min, b.y_min)
    shared = max(width, 0.0) * max(height, 0.0)
    union = _area(a) + _area(b) - shared
    return shared / union if union > 0 else 0.0


def _area(box: Box) -> float:
    return max(box.x_max - box.x_min, 0.0) * max(box.y_max - box.y_min, 0.0)
