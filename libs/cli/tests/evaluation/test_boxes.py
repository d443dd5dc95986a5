from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_cli.evaluation.boxes import (
    BOXES_MAX,
    THRESHOLDS,
    Box,
    Boxed,
    average_precision,
    iou,
    matches,
    mean_average_precision,
)

sides = st.integers(0, 6)
corners = st.tuples(sides, sides, st.integers(1, 4), st.integers(1, 4)).map(
    lambda at: (at[0], at[1], at[0] + at[2], at[1] + at[3])
)
truths = st.lists(st.builds(lambda at, label: Box(label, *at), corners, st.sampled_from("ab")))
scored = st.builds(
    lambda at, label, score: Box(label, *at, score),
    corners,
    st.sampled_from("ab"),
    st.integers(1, 99).map(lambda percent: percent / 100),
)
pictures = st.lists(
    st.builds(
        lambda truth, found: Boxed(tuple(truth[:4]), tuple(found)),
        truths,
        st.lists(scored, max_size=6),
    ),
    min_size=1,
    max_size=3,
)


def distinct(some: list[Boxed]) -> list[Boxed]:
    """With no two scores alike: of those which box is the surer is anybody's choice."""
    places = count()
    return [
        Boxed(
            picture.truth,
            tuple(replace(box, score=box.score + next(places) * 1e-6) for box in picture.found),
        )
        for picture in some
    ]


def squares(box: Box) -> set[tuple[int, int]]:
    return {
        (x, y)
        for x in range(int(box.x_min), int(box.x_max))
        for y in range(int(box.y_min), int(box.y_max))
    }


@given(corners, corners)
def test_iou_counts_unit_squares(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    left, right = Box("", *a), Box("", *b)
    ours, theirs = squares(left), squares(right)
    assert iou(left, right) == pytest.approx(len(ours & theirs) / len(ours | theirs))


def slow_precision(all_pictures: Sequence[Boxed], label: str, threshold: float) -> float | None:
    """Walks down the found boxes of all pictures at once, and reads the curve off by its words."""
    free = [[box for box in picture.truth if box.label == label] for picture in all_pictures]
    n_true = sum(map(len, free))
    if not n_true:
        return None
    found = [
        (box, i)
        for i, picture in enumerate(all_pictures)
        for box in sorted(picture.found, key=lambda box: -box.score)
        if box.label == label
    ]
    curve: list[tuple[int, float]] = []
    right = 0
    for n, (box, i) in enumerate(sorted(found, key=lambda one: -one[0].score), 1):
        overlaps = [iou(true, box) for true in free[i]]
        if overlaps and max(overlaps) >= threshold:
            best = max(place for place, one in enumerate(overlaps) if one == max(overlaps))
            free[i].pop(best)
            right += 1
        curve.append((right, right / n))
    read = [
        max((p for found, p in curve if found / n_true >= percent * 0.01), default=0.0)
        for percent in range(101)
    ]
    return sum(read) / 101


@given(pictures.map(distinct), st.sampled_from(THRESHOLDS), st.randoms(use_true_random=False))
def test_average_precision_is_the_definition_s_also_of_pictures_that_count_several_times(
    some: list[Boxed], threshold: float, chance: Any
) -> None:
    counts = [chance.randrange(4) for _ in some]
    written_out = [picture for picture, n in zip(some, counts, strict=True) for _ in range(n)]
    found = average_precision(matches(some, "a", threshold), counts)
    expected = slow_precision(written_out, "a", threshold)
    assert found == (None if expected is None else pytest.approx(expected))


def test_map_by_hand() -> None:
    truth = (Box("a", 0, 0, 10, 10), Box("a", 20, 0, 30, 10))
    found = (
        Box("a", 0, 0, 10, 10, 0.9),  # right at every threshold
        Box("a", 50, 50, 60, 60, 0.8),  # nothing there
        Box("a", 20, 0, 30, 7, 0.7),  # IoU 0.7: right at 0.5 to 0.7
    )
    low = (51 * 1.0 + 50 * 2 / 3) / 101  # recall 0 to 0.5 at precision 1, beyond at 2/3
    high = 51 / 101
    pictures = [Boxed(truth, found)]
    assert mean_average_precision(pictures, 0, (0.5,)).value == pytest.approx(low)
    assert mean_average_precision(pictures, 0).value == pytest.approx((5 * low + 5 * high) / 10)


def test_a_true_box_is_met_once_and_classes_weigh_the_same() -> None:
    truth = (Box("a", 0, 0, 10, 10), Box("b", 0, 0, 4, 4))
    twice = (Box("a", 0, 0, 10, 10, 0.9), Box("a", 0, 0, 10, 10, 0.8), Box("c", 0, 0, 4, 4, 1.0))
    pictures = [Boxed(truth, twice)]
    assert mean_average_precision(pictures, 0).value == pytest.approx((1 + 0) / 2)
    matched = matches(pictures, "a", 0.5)
    assert matched.right == [1, 0]


def test_only_the_surest_boxes_of_a_picture_count() -> None:
    wrong = tuple(Box("a", 50, 50, 60, 60, 0.9) for _ in range(BOXES_MAX))
    right = Box("a", 0, 0, 10, 10, 0.1)
    matched = matches([Boxed((Box("a", 0, 0, 10, 10),), (right, *wrong))], "a", 0.5)
    assert sum(matched.right) == 0 and len(matched.right) == BOXES_MAX
