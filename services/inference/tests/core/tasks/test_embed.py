"""Embeddings: pooling, lengths, dimensions, and reranking by them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_inference.core.prediction import (
    Embedding,
    PredictionOptions,
    RerankQuery,
    Score,
    Texts,
)
from weir_inference.core.processing import Activation, Pooling, Postprocess
from weir_inference.core.tasks.embed import Embed, cut, normalised, pool
from weir_inference.core.tasks.rerank import Rerank
from weir_kit.errors import InvalidArgument

RANDOM = np.random.default_rng(3)
STATES = RANDOM.normal(size=(4, 6, 8)).astype(np.float32)


@given(
    st.lists(st.integers(1, 6), min_size=4, max_size=4),
    st.sampled_from([Pooling.MEAN, Pooling.MAX, Pooling.CLS]),
)
def test_padding_does_not_count(lengths: list[int], pooling: Pooling) -> None:
    pooled = pool(STATES, np.array(lengths), pooling)
    for row, states, n in zip(pooled, STATES, lengths, strict=True):
        own = states[:n]
        expected = {Pooling.MEAN: own.mean(0), Pooling.MAX: own.max(0), Pooling.CLS: own[0]}
        np.testing.assert_allclose(row, expected[pooling], atol=1e-6)


def test_a_text_without_tokens_is_nothing_and_not_nan() -> None:
    for pooling in (Pooling.MEAN, Pooling.MAX):
        pooled = pool(STATES, np.array([0, 1, 1, 1]), pooling)
        assert pooled[0].tolist() == [0.0] * 8
        assert normalised(pooled)[0].tolist() == [0.0] * 8


def embed(fake_model: Any, fake_encoder: Any, **own: Any) -> tuple[Embed, Any]:
    model = fake_model(lambda inputs: {"states": inputs["x"]})
    return Embed(fake_encoder(STATES, [6, 6, 6, 6]), model, "states", Postprocess(**own)), model


async def test_embeddings_are_of_length_one_where_the_model_says_so(
    fake_model: Any, fake_encoder: Any
) -> None:
    for normalize in (False, True):
        task, model = embed(fake_model, fake_encoder, normalize=normalize)
        answers = await task.predict(model, Texts(("",) * 4), PredictionOptions())
        for answer, states in zip(answers, STATES, strict=True):
            assert isinstance(answer, Embedding)
            expected = states.mean(0)
            length = np.linalg.norm(expected) if normalize else 1.0
            np.testing.assert_allclose(answer.values, expected / length, rtol=1e-5)


async def test_fewer_dimensions_are_the_first_ones_of_length_one(
    fake_model: Any, fake_encoder: Any
) -> None:
    task, model = embed(fake_model, fake_encoder)
    answers = await task.predict(model, Texts(("",) * 4), PredictionOptions(dimensions=3))
    first = STATES[0].mean(0)[:3]
    assert isinstance(answers[0], Embedding)
    np.testing.assert_allclose(answers[0].values, first / np.linalg.norm(first), rtol=1e-5)
    with pytest.raises(InvalidArgument, match=r"1\.\.8") as caught:
        cut(STATES[:, 0], 9)
    assert caught.value.field == "options.dimensions"


async def test_documents_are_scored_by_their_cosine_with_the_query(
    fake_model: Any, fake_encoder: Any
) -> None:
    task, model = embed(fake_model, fake_encoder)
    answers = await task.predict(model, RerankQuery("q", ("d", "e", "f")), PredictionOptions())
    query, *documents = STATES.mean(1)
    for answer, document in zip(answers, documents, strict=True):
        cosine = query @ document / np.linalg.norm(query) / np.linalg.norm(document)
        assert answer == Score(pytest.approx(float(cosine), abs=1e-5))


async def test_a_cross_encoder_s_last_number_is_the_score(
    fake_model: Any, fake_encoder: Any
) -> None:
    numbers = np.array([[0.0, 2.0], [3.0, 0.0], [1.0, 1.0]], np.float32)
    asked = RerankQuery("q", ("d", "e", "f"))
    for columns, activation, expected in (
        (slice(0, 2), None, [0.8808, 0.0474, 0.5]),
        (slice(1, 2), None, [0.8808, 0.5, 0.7311]),
        (slice(1, 2), Activation.NONE, [2.0, 0.0, 1.0]),
    ):
        model = fake_model(lambda inputs, columns=columns: {"y": inputs["x"][:, columns]})
        encoder = fake_encoder(numbers, [None] * 3)
        task = Rerank(encoder, model, "y", Postprocess(activation=activation))
        answers = await task.predict(model, asked, PredictionOptions())
        assert [one.score for one in answers] == pytest.approx(expected, abs=1e-4)  # type: ignore[union-attr]
