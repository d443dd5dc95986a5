"""Classification: scores of labels, and the rows that come to the model."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from weir_inference.core.prediction import PredictionOptions, Texts
from weir_inference.core.processing import Activation, Postprocess
from weir_inference.core.tasks.classify import Classify
from weir_inference.core.tasks.scores import activated, top_classes, two_columns
from weir_inference.core.tasks.task import run_rows
from weir_kit.errors import Internal

LOGITS = np.array([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
LABELS = ("a", "b", "c")


@given(arrays(np.float32, (3, 5), elements=st.floats(-200, 200, width=32)))
def test_activations_are_their_formulas(numbers: np.ndarray) -> None:
    x = numbers.astype(np.float64)
    powers = np.exp(x - x.max(-1, keepdims=True))
    expected = {
        Activation.SOFTMAX: powers / powers.sum(-1, keepdims=True),
        Activation.SIGMOID: 1 / (1 + np.exp(-x)),
        Activation.NONE: x,
    }
    for activation, values in expected.items():
        np.testing.assert_allclose(activated(numbers, activation), values, atol=1e-6)


def test_one_number_is_the_second_label_s() -> None:
    np.testing.assert_allclose(
        two_columns(np.zeros((2, 1), np.float32), Activation.SOFTMAX), [[0.5, 0.5]] * 2
    )
    np.testing.assert_allclose(
        two_columns(np.array([0.2], np.float32), Activation.NONE), [[0.8, 0.2]], 1e-6
    )


@given(
    arrays(np.float32, 6, elements=st.floats(0, 1, width=16)),
    st.none() | st.integers(1, 8),
    st.none() | st.floats(0, 1, width=16),
)
def test_the_likeliest_come_first_no_more_and_no_less_sure_than_asked(
    scores: np.ndarray, top_k: int | None, min_score: float | None
) -> None:
    labels = "abcdef"
    told = top_classes(scores, labels, PredictionOptions(top_k, min_score), Postprocess())
    everything = sorted(zip(labels, scores.tolist(), strict=True), key=lambda one: -one[1])
    fit = [one for one in everything if min_score is None or one[1] >= min_score]
    assert [(one.label, one.score) for one in told.classes] == fit[:top_k]


def test_the_caller_s_choice_comes_before_the_model_s() -> None:
    scores, own = np.array([0.6, 0.3, 0.1], np.float32), Postprocess(top_k=1, threshold=0.2)

    def n(**asked: Any) -> int:
        return len(top_classes(scores, LABELS, PredictionOptions(**asked), own).classes)

    assert (n(), n(top_k=3), n(top_k=3, min_score=0.05), n(min_score=0.7)) == (1, 2, 3, 0)


async def test_every_item_is_answered_in_order(fake_model: Any, fake_encoder: Any) -> None:
    model = fake_model(lambda inputs: {"logits": inputs["x"]})
    task = Classify(Texts, fake_encoder(LOGITS, "rst"), model, "logits", LABELS, Postprocess())
    predictions = await task.predict(model, Texts(("r", "s", "t")), PredictionOptions())
    assert [one.classes[0].label for one in predictions] == ["a", "b", "a"]  # type: ignore[union-attr]
    assert sum(one.score for one in predictions[0].classes) == pytest.approx(1)  # type: ignore[union-attr]


@pytest.mark.parametrize(("n_rows", "n_calls"), [(-1, 1), (1, 3)])
async def test_rows_go_at_once_only_where_the_model_takes_any_number(
    fake_model: Any, n_rows: int, n_calls: int
) -> None:
    model = fake_model(lambda inputs: {"y": inputs["x"] * 2}, n_rows)
    (answer,) = await run_rows(model, model, {"x": LOGITS}, ("y",))
    np.testing.assert_array_equal(answer, LOGITS * 2)
    assert len(model.calls) == n_calls


async def test_a_model_that_answers_with_other_rows_or_no_numbers_is_told(fake_model: Any) -> None:
    model = fake_model(lambda inputs: {"y": inputs["x"][:1]})
    with pytest.raises(Internal, match="number of rows"):
        await run_rows(model, model, {"x": LOGITS}, ("y",))
    with pytest.raises(Internal, match="not a number"):
        top_classes(np.array([np.nan], np.float32), "a", PredictionOptions(), Postprocess())
    with pytest.raises(Internal, match="3 scores and has 2 labels"):
        top_classes(LOGITS[0], "ab", PredictionOptions(), Postprocess())
