"""OCR: text is read by CTC, and a picture's direction told."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from weir_inference.core.prediction import Lines, Pictures, PredictionOptions
from weir_inference.core.processing import Postprocess
from weir_inference.core.tasks.boxes import Placement
from weir_inference.core.tasks.ocr import BLANK, Direction, Read, read

CHARACTERS = "abc "
PLACEMENT = Placement(96, 32, 1.0, 1.0, 0.0, 0.0)


@given(
    st.lists(st.tuples(st.sampled_from(CHARACTERS), st.integers(1, 3), st.integers(0, 2))),
    st.integers(0, 2),
)
def test_any_way_to_write_a_text_as_steps_reads_as_the_text(
    written: list[tuple[str, int, int]], n_first: int
) -> None:
    steps, text = [BLANK] * n_first, ""
    for char, n_repeats, n_blanks in written:
        if text[-1:] == char:
            steps.append(BLANK)  # between equal characters
        steps += [1 + CHARACTERS.index(char)] * n_repeats + [BLANK] * n_blanks
        text += char
    scores = np.full((max(1, len(steps)), 5), 0.1, np.float32)
    scores[np.arange(len(steps)), steps] = 0.6
    assert read(scores, CHARACTERS)[0] == text


async def test_a_picture_is_one_line_or_none(fake_model: Any, fake_encoder: Any) -> None:
    scores = np.zeros((2, 3, 5), np.float32)
    scores[0, [0, 1, 2], [2, 0, 3]] = (0.9, 0.6, 0.7)
    scores[1, :, 0] = 1.0
    model = fake_model(lambda inputs: {"y": inputs["x"]})
    task = Read(fake_encoder(scores, [PLACEMENT] * 2), model, "y", CHARACTERS, Postprocess())
    one, none = await task.predict(model, Pictures((b"",) * 2), PredictionOptions())
    assert isinstance(one, Lines)
    assert one.lines[0].text == "bc"
    assert abs(one.lines[0].box.score - 0.8) < 1e-6
    assert (one.lines[0].box.x_max, one.lines[0].box.y_max) == (96, 32)
    assert none == Lines(())
    unsure = await task.predict(model, Pictures((b"",) * 2), PredictionOptions(min_score=0.85))
    assert unsure == [Lines(()), Lines(())]


async def test_a_picture_is_turned_only_where_the_model_is_sure(
    fake_model: Any, fake_encoder: Any
) -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.05, 0.95]], np.float32)
    model = fake_model(lambda inputs: {"y": inputs["x"]})
    encoder = fake_encoder(scores, [PLACEMENT] * 3)
    for threshold, expected in ((None, [0, 0, 180]), (0.5, [0, 180, 180])):
        task = Direction(encoder, model, "y", ("0", "180"), Postprocess(score=threshold))
        answers = await task.predict(model, Pictures((b"",) * 3), PredictionOptions())
        assert [one.lines[0].turned for one in answers] == expected  # type: ignore[union-attr]
