"""Boxes: what suppression keeps, and that placements are undone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from weir_inference.core.tasks.boxes import Found, Placement, corners, without_doubles

Row = tuple[int, int, int, int, int, int]

sides = st.integers(0, 12)
rows = st.tuples(sides, sides, sides, sides, st.integers(0, 5), st.integers(0, 2))


def naive_iou(a: Row, b: Row) -> float:
    """By counting unit squares."""
    of_a, of_b = ({(x, y) for x in range(r[0], r[2]) for y in range(r[1], r[3])} for r in (a, b))
    return len(of_a & of_b) / len(of_a | of_b) if of_a | of_b else 0.0


def naive_kept(boxes: list[Row], iou: float, n_max: int) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -boxes[i][4]):
        rivals = [k for k in kept if boxes[k][5] == boxes[i][5]]
        if len(kept) < n_max and all(naive_iou(boxes[k], boxes[i]) < iou for k in rivals):
            kept.append(i)
    return kept


@given(
    st.lists(rows, max_size=24),
    st.sampled_from([0.1, 0.25, 0.45, 0.7, 1.0]),
    st.integers(1, 30),
)
def test_what_is_kept_is_what_the_definition_says(boxes: list[Row], iou: float, n_max: int) -> None:
    table = np.array(boxes, np.float32).reshape(-1, 6)
    found = Found(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))

    kept = without_doubles(found, iou, n_max)

    expected = table[naive_kept(boxes, iou, n_max)]
    np.testing.assert_array_equal(kept.boxes, expected[:, :4])
    np.testing.assert_array_equal(kept.scores, expected[:, 4])
    np.testing.assert_array_equal(kept.classes, expected[:, 5])


@given(
    st.floats(0.1, 8), st.floats(0.1, 8), st.floats(-200, 200), st.floats(-200, 200),
    st.tuples(*[st.floats(0, 1)] * 4),
)  # fmt: skip
def test_a_box_of_the_picture_comes_back_from_the_model_s_input(
    scale_x: float, scale_y: float, left: float, top: float, parts: tuple[float, ...]
) -> None:
    placement = Placement(640, 480, scale_x, scale_y, left, top)
    box = np.array(parts) * (640, 480, 640, 480)
    moved = box * np.tile([scale_x, scale_y], 2) + np.tile([left, top], 2)

    (back,) = placement.in_picture(moved.astype(np.float32)[None])

    np.testing.assert_allclose(back, box, atol=0.05)


def test_a_box_is_cut_at_the_picture_s_edges() -> None:
    placement = Placement(100, 50, 2.0, 2.0, 0.0, 10.0)
    (box,) = placement.in_picture(np.array([[-8, 0, 500, 60]], np.float32))
    assert box.tolist() == [0, 0, 100, 25]


def test_centres_become_corners() -> None:
    assert corners(np.array([[10, 20, 4, 8]], np.float32)).tolist() == [[8, 16, 12, 24]]
