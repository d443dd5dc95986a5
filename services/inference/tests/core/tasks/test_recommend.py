"""Recommendation: never what is known, the best first, and why."""

from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_inference.core.prediction import PredictionOptions, Recommendation, User, Users
from weir_inference.core.processing import Postprocess
from weir_inference.core.tasks.recommend import CANDIDATES_MAX, Catalogue, Recommend, histories
from weir_inference.core.tensors import ANY, Datatype, Tensors, TensorSpec
from weir_kit.errors import InvalidArgument

N_ITEMS = 130
POINTS = np.random.default_rng(2).normal(size=(N_ITEMS, 5)).astype(np.float32)
CATALOGUE = Catalogue([f"m{i}" for i in range(N_ITEMS)], [f"Film {i}" for i in range(N_ITEMS)])


class TwoTowers:
    """Scores are products with the mean of the history; the ranker prefers low indices."""

    inputs = (TensorSpec("history", Datatype.INT64, (ANY, ANY)),)
    outputs: tuple[TensorSpec, ...] = ()

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    async def __call__(
        self, inputs: Tensors, outputs: Collection[str], file: str | None = None
    ) -> Tensors:
        self.asked.append(tuple(outputs))
        if file == "ranker.onnx":
            return {"scores": -inputs["candidates"].astype(np.float32)}
        padded = np.vstack((np.zeros((1, 5), np.float32), POINTS))
        query = padded[inputs["history"]].sum(1)
        return {"query": query, "scores": query @ POINTS.T, "item_embeddings": POINTS}


async def best(user: User, ranker: str | None = None, **options: Any) -> list[Recommendation]:
    model = TwoTowers()
    task = Recommend(model, CATALOGUE, Postprocess(), ranker, explains=True)
    (answer,) = await task.predict(model, Users((user,)), PredictionOptions(**options))
    return list(answer.items)  # type: ignore[union-attr]


ids = st.sampled_from(CATALOGUE.ids)


@given(st.lists(ids, max_size=20), st.lists(ids, max_size=120), st.integers(1, 100))
async def test_recommended_are_the_best_that_are_neither_known_nor_excluded(
    history: list[str], excluded: list[str], top_k: int
) -> None:
    told = await best(User(tuple(history), tuple(excluded)), top_k=top_k)
    liked = [CATALOGUE.index[one] for one in history]
    scores = POINTS[liked].sum(0) @ POINTS.T if liked else np.zeros(N_ITEMS)
    left = [i for i in range(N_ITEMS) if CATALOGUE.ids[i] not in {*history, *excluded}]
    n_told = min(top_k, len(left), CANDIDATES_MAX)
    assert len(told) == n_told
    assert not {one.id for one in told} & {*history, *excluded}
    expected = sorted((float(scores[i]) for i in left), reverse=True)[:n_told]
    assert [one.score for one in told] == pytest.approx(expected, abs=1e-3)


async def test_the_ranker_orders_what_was_found() -> None:
    user = User(("m1", "m7"), ("m0",))
    found = {one.id for one in await best(user, top_k=CANDIDATES_MAX)}
    told = [one.id for one in await best(user, "ranker.onnx", top_k=CANDIDATES_MAX)]
    assert told == sorted(found, key=lambda one: CATALOGUE.index[one])


@pytest.mark.parametrize("ranker", [None, "ranker.onnx"])
async def test_where_nearly_all_is_excluded_only_the_rest_is_told(ranker: str | None) -> None:
    user = User((), tuple(CATALOGUE.ids[:-2]))
    told = await best(user, ranker, top_k=CANDIDATES_MAX)
    assert [one.id for one in told] == ["m128", "m129"]


async def test_the_reasons_are_the_nearest_of_the_history() -> None:
    history = ("m3", "m9", "m20", "m21", "m3")
    for one in await best(User(history), top_k=5):
        mine = POINTS[CATALOGUE.index[one.id]]

        def nearness(other: str, mine: np.ndarray = mine) -> float:
            point = POINTS[CATALOGUE.index[other]]
            return float(mine @ point / np.linalg.norm(point))

        assert list(one.because) == sorted(set(history), key=nearness, reverse=True)[:3]
        assert one.title == f"Film {one.id[1:]}"


async def test_embeddings_of_items_are_asked_for_once() -> None:
    model = TwoTowers()
    task = Recommend(model, CATALOGUE, Postprocess(), explains=True)
    for _ in range(2):
        await task.predict(model, Users((User(), User(("m1",)))), PredictionOptions())
    assert model.asked == [("item_embeddings",), ("scores",), ("scores",)]


@pytest.mark.parametrize("where", ["history", "excluded"])
async def test_an_unknown_item_is_refused_by_name(where: str) -> None:
    user = User(**{where: ("m1", "m2", "dune")})
    with pytest.raises(InvalidArgument, match="no item 'dune'") as caught:
        await best(user)
    assert caught.value.field == f"input.users[0].{where}[2]"


def test_histories_keep_the_latest_at_the_right() -> None:
    rows = histories([np.arange(3), np.zeros(0, np.int64), np.arange(600)])
    assert rows.shape == (3, 512)
    assert rows[0, -4:].tolist() == [0, 1, 2, 3]
    assert not rows[1].any()
    assert rows[2, -1] == 600
