"""weir-movies recommends what goes with a history, and never what is in it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from weir_inference.training.fit import Recipe
from weir_inference.training.likes import Film, Likes, examples
from weir_inference.training.movies import (
    fit_ranker,
    fit_towers,
    ndcg_at_10,
    places,
    ranks,
    recall_at_10,
)
from weir_inference.training.neighbours import item_knn, most_popular, without_seen

FOLDER = Path(__file__).parents[2] / "models/weir-movies/1"
Start = Callable[..., InferenceSession]
LIKED = ["Toy Story", "Finding Nemo", "Monsters, Inc."]


@pytest.fixture(scope="module")
def films() -> list[dict[str, Any]]:
    lines = (FOLDER / "items.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def history_of(films: list[dict[str, Any]], titles: list[str]) -> NDArray[np.int64]:
    index = {film["title"]: i for i, film in enumerate(films)}
    return np.array([[index[title] + 1 for title in titles]], np.int64)


def test_somebody_who_likes_films_for_children_gets_more_of_them(
    session: Start, films: list[dict[str, Any]]
) -> None:
    history = history_of(films, LIKED)
    query, scores, _ = session("weir-movies").run(None, {"history": history})
    best = np.argsort(-scores)[:, :100]
    inputs = {"query": query, "candidates": best, "history": history}
    order = session("weir-movies", "ranker.onnx").run(None, inputs)[0]
    first = [films[i] for i in best[0, np.argsort(-order[0])[:10]]]
    assert sum("Animation" in f["genres"] or "Children" in f["genres"] for f in first) >= 5
    assert not set(LIKED) & {film["title"] for film in first}


def test_padding_changes_nothing(session: Start, films: list[dict[str, Any]]) -> None:
    model, ranker = session("weir-movies"), session("weir-movies", "ranker.onnx")
    history = history_of(films, LIKED)
    candidates = np.arange(7, dtype=np.int64)[None]
    alone = model.run(["query", "scores"], {"history": history})
    ranked = ranker.run(None, {"query": alone[0], "candidates": candidates, "history": history})
    for padding in ((9, 0), (0, 4)):
        padded = np.pad(history, ((0, 0), padding))
        for ours, theirs in zip(
            alone, model.run(["query", "scores"], {"history": padded}), strict=True
        ):
            assert np.allclose(ours, theirs, rtol=0, atol=1e-5)
        inputs = {"query": alone[0], "candidates": candidates, "history": padded}
        assert np.allclose(ranked[0], ranker.run(None, inputs)[0], rtol=0, atol=1e-5)


def test_the_nearest_films_are_of_a_kind(session: Start, films: list[dict[str, Any]]) -> None:
    history = history_of(films, ["Star Wars: Episode IV - A New Hope"])
    points = session("weir-movies").run(["item_embeddings"], {"history": history})[0]
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    nearest = np.argsort(-points @ points[history[0, 0] - 1])[1:4]
    assert any("Star Wars" in films[i]["title"] for i in nearest)


def test_an_empty_history_gets_films_that_many_like(
    session: Start, films: list[dict[str, Any]]
) -> None:
    scores = session("weir-movies").run(["scores"], {"history": np.zeros((1, 1), np.int64)})[0]
    first = {films[i]["title"] for i in np.argsort(-scores[0])[:20]}
    assert {"Pulp Fiction", "Forrest Gump", "Shawshank Redemption, The"} & first


def two_tastes() -> Likes:
    """Forty people who like films of the first hundred only, or of the second only."""
    chance = np.random.default_rng(0)
    films = [Film(str(i), f"film {i}", ("AB"[i // 100],), 1990) for i in range(200)]
    return Likes(films, [chance.permutation(100)[:20] + 100 * (i % 2) for i in range(40)])


def test_towers_learn_two_tastes_and_a_ranker_keeps_them() -> None:
    torch.manual_seed(0)
    likes = two_tastes()
    towers = fit_towers(likes, 1, Recipe(n_steps=15, rows=16, lr=2e-2))
    ranker = fit_ranker(likes, towers, towers, 1, Recipe(n_steps=5, rows=16, lr=1e-3))
    # 81 films of their own taste are left to everybody, and a hundred of the other.
    assert (ranks(likes, towers, None) < 81).all()
    assert (ranks(likes, towers, ranker) < 85).all()


def test_a_history_holds_what_was_before_and_nothing_else() -> None:
    likes = Likes([], [np.array([4, 2, 7, 5])])
    histories, targets = examples(likes, slice(None), 2)
    assert targets.tolist() == [2, 7, 5]
    assert histories.tolist() == [[0, 5], [5, 3], [3, 8]]


def test_the_baselines_follow_the_likes_before_the_held_out_one() -> None:
    films = [Film(str(i), "", (), 2000) for i in range(4)]
    likes = Likes(films, [np.array(person) for person in ([0, 1, 3], [0, 1, 2], [2, 3, 1])])
    assert most_popular(likes, -1).tolist() == [[2, 2, 1, 1]] * 3
    # Films 0 and 1 have the same people, so have 2 and 3.
    assert np.allclose(item_knn(likes, -1, 1, 0.0), [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]])
    unseen = without_seen(most_popular(likes, -1), likes, -1)
    assert unseen[0].tolist() == [-np.inf, -np.inf, 1, 1]


def test_places_and_their_scores() -> None:
    found = places(np.array([[3.0, 2.0, 1.0], [1.0, 1.0, 0.0]]), np.array([1, 0]))
    assert found.tolist() == [1, 1]  # a tie counts against
    assert recall_at_10(np.array([0, 20])).mean == 0.5
    assert ndcg_at_10(np.array([1])).mean == pytest.approx(1 / np.log2(3))
