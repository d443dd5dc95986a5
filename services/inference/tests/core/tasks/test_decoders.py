"""Decoders: boxes that are written down as each model would are read back."""

import numpy as np
import pytest

from weir_inference.core.processing import Activation
from weir_inference.core.tasks.decoders import fastestdet, priors, ultraface, yolo
from weir_kit.errors import Internal

SIZE = (240, 320)
NONE = Activation.NONE

# Two things: centre x, y, width, height in pixels; class; how sure.
THINGS = np.array([[100, 60, 40, 20], [200, 100, 10, 30]], np.float32)
CORNERS = [[80, 50, 120, 70], [195, 85, 205, 115]]
CLASSES, SCORES = [2, 0], [0.81, 0.64]


def class_scores() -> np.ndarray:
    scores = np.full((2, 3), 0.1, np.float32)
    scores[[0, 1], CLASSES] = SCORES
    return scores


def test_fastestdet_weighs_whether_and_what() -> None:
    objectness = np.array([[0.9], [0.5]], np.float32)
    found = fastestdet([np.hstack((THINGS, objectness, class_scores()))], SIZE, 3, NONE)
    assert found.boxes.tolist() == CORNERS
    assert found.classes.tolist() == CLASSES
    np.testing.assert_allclose(found.scores, [0.9**0.6 * 0.81**0.4, 0.5**0.6 * 0.64**0.4], 1e-5)


@pytest.mark.parametrize("objectness", [[], [[0.5], [1.0]]])
@pytest.mark.parametrize("transposed", [False, True])
def test_yolo_is_read_either_way_round_with_objectness_and_without(
    objectness: list[list[float]], transposed: bool
) -> None:
    columns = [THINGS, np.array(objectness, np.float32).reshape(2, -1), class_scores()]
    table = np.hstack(columns)
    found = yolo([table.T if transposed else table], SIZE, 3, NONE)
    assert found.boxes.tolist() == CORNERS
    assert found.classes.tolist() == CLASSES
    factor = np.array(objectness or [[1.0], [1.0]])[:, 0]
    np.testing.assert_allclose(found.scores, np.array(SCORES) * factor, 1e-6)


def test_yolo_takes_logits() -> None:
    logits = np.log(class_scores() / (1 - class_scores()))
    found = yolo([np.hstack((THINGS, logits))], SIZE, 3, Activation.SIGMOID)
    np.testing.assert_allclose(found.scores, SCORES, 1e-5)


def test_ultraface_offsets_start_from_its_priors() -> None:
    usual = priors(*SIZE)
    assert len(usual) == 4420  # of the published model of this size
    assert usual[0].tolist() == [4, 4, 10, 10]
    assert usual[-1].tolist() == [288, 224, 256, 240]  # no larger than the picture
    offsets, scores = np.zeros((4420, 4), np.float32), np.zeros((4420, 2), np.float32)
    scores[:, 0] = 1.0
    scores[7] = (0.05, 0.95)
    # One width to the right, and twice as high.
    offsets[7] = (1 / 0.1, 0, 0, np.log(2) / 0.2)

    found = ultraface([scores, offsets], SIZE, 1, NONE)

    x, y, width, height = usual[7]
    expected = [x + width / 2, y - height, x + 3 * width / 2, y + height]
    np.testing.assert_allclose(found.boxes[7], expected, rtol=1e-5)
    assert found.scores.argmax() == 7
    assert set(found.classes.tolist()) == {0}


def test_outputs_that_do_not_fit_the_labels_are_told() -> None:
    for decode, outputs in (
        (fastestdet, [np.zeros((5, 84), np.float32)]),
        (yolo, [np.zeros((9, 50), np.float32)]),
        (ultraface, [np.zeros((4420, 81), np.float32), np.zeros((10, 4), np.float32)]),
    ):
        with pytest.raises(Internal):
            decode(outputs, SIZE, 80, NONE)
