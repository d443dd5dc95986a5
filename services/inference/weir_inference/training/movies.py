"""`weir-movies`: films that somebody may like, from films that they liked.

Two towers find candidates: one turns a history into a query, the other a film's id, genres and year
into a point; what lies in the query's direction comes first. A small ranker then orders the best
hundred by more than that one product.
"""

import json
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from weir_inference.training.export import Shipped, assert_same, export_onnx, ship, write
from weir_inference.training.fit import Recipe, fit
from weir_inference.training.likes import Likes, examples, read_likes
from weir_inference.training.neighbours import item_knn, most_popular, without_seen
from weir_inference.training.recommender import HISTORY, Features, Ranker, Towers, features_of
from weir_inference.training.scores import Score, bootstrap

NAME = "weir-movies"
SEED = 17
TOWERS = Recipe(n_steps=3500, rows=256, lr=3e-3, weight_decay=0.1, average_decay=0.995)
RANKER = Recipe(n_steps=1500, rows=128, lr=2e-3, weight_decay=0.01, average_decay=0.99)
RANKER_LIKES = 5  # of every person, the last ones before the held-out one
CANDIDATES = 100
LICENCE = "LicenseRef-MovieLens"  # research only: see the card
N_LATEST, SHRINK = 3, 5.0  # of the item-kNN baseline: its best on the likes before the last ones


def train(assets: Path, out: Path) -> None:
    """Train, score and write the folder of the model."""
    del assets
    started_s = time.monotonic()
    likes = read_likes()
    torch.manual_seed(SEED)
    towers = fit_towers(likes, n_last=1, recipe=TOWERS)
    earlier = fit_towers(likes, n_last=1 + RANKER_LIKES, recipe=TOWERS)
    ranker = fit_ranker(likes, towers, earlier, n_last=1, recipe=RANKER)
    write_folder(out, likes, towers, ranker, time.monotonic() - started_s)


def fit_towers(likes: Likes, n_last: int, recipe: Recipe) -> Towers:
    """Foretell every like from those before it, all films competing; the last ones are unseen."""
    towers = Towers(features_of(likes, n_last))
    histories, targets = examples(likes, slice(None, -n_last), HISTORY)

    def loss_of_step(step: int) -> Tensor:
        del step
        rows = torch.randint(len(targets), (recipe.rows,))
        history = histories[rows]
        history = history * (torch.rand(history.shape) > 0.2)  # a like more or less: same taste
        scores = towers(history)[1]
        return F.cross_entropy(scores, targets[rows])

    fit(towers, loss_of_step, recipe)
    return towers


def fit_ranker(
    likes: Likes, towers: Towers, earlier: Towers, n_last: int, recipe: Recipe
) -> Ranker:
    """Learn what to put first among the candidates, on likes that the `earlier` towers did not see.

    Towers know by heart what they learnt from, so a ranker that learnt from the same likes would
    trust them too much. As it sees them only through products and distances it then works with the
    final ones.
    """
    n_unseen = n_last + RANKER_LIKES
    ranker = ranker_of(earlier, features_of(likes, n_unseen))
    histories, targets = examples(likes, slice(-n_unseen, -n_last), likes.longest)
    with torch.inference_mode():
        query, scores, _ = earlier(histories)
        found = best(scores)
    # A like that was not found can teach no order; the others stand where they were found.
    hits = (found == targets[:, None]).any(1).nonzero()[:, 0]
    histories, query, found = histories[hits].clone(), query[hits].clone(), found[hits].clone()
    places = (found == targets[hits][:, None]).long().argmax(1)

    def loss_of_step(step: int) -> Tensor:
        del step
        rows = torch.randint(len(hits), (recipe.rows,))
        return F.cross_entropy(ranker(query[rows], found[rows], histories[rows]), places[rows])

    fit(ranker, loss_of_step, recipe)
    final = ranker_of(towers, features_of(likes, n_last))
    final.score.load_state_dict(ranker.score.state_dict())
    return final.eval()


def best(scores: Tensor) -> Tensor:
    """The candidates' indices [batch, CANDIDATES], fewer where there are not as many films."""
    return scores.topk(min(CANDIDATES, scores.shape[1]), 1).indices


def ranker_of(towers: Towers, features: Features) -> Ranker:
    return Ranker(features, towers.points(), towers.bias)


@torch.inference_mode()
def ranks(
    likes: Likes, towers: Towers, ranker: Ranker | None, which: slice = slice(-1, None)
) -> NDArray[np.int64]:
    """The place, from 0, of a like of everybody among all films they had not liked before.

    `which` of their likes: the last one, or one to choose by.
    """
    histories, targets = examples(likes, which, likes.longest)
    query, scores, _ = towers(histories)
    if ranker is not None:
        found = best(scores)
        order = ranker(query, found, histories)
        # The hundred keep the first hundred places, in the ranker's order.
        scores = scores.scatter(1, found, order - order.amin() + scores.max() + 1)
    return places(scores.double().numpy(), targets.numpy())


def write_folder(out: Path, likes: Likes, towers: Towers, ranker: Ranker, seconds: float) -> None:
    """The model's folder, with what it and two baselines recommend."""
    history, _ = examples(likes, slice(-1, None), HISTORY)
    rows = {0: "batch"}
    towers_axes = {
        "history": {0: "batch", 1: "items"},
        "query": rows,
        "scores": rows,
        "item_embeddings": {},
    }
    export_onnx(towers, {"history": history[:4, -20:]}, towers_axes, out / "model.onnx")
    assert_same(towers, out / "model.onnx", {"history": history[:7]})
    with torch.inference_mode():
        query, scores, _ = towers(history[:7])
    candidates = best(scores).clone()
    whole = {"query": query.clone(), "candidates": candidates, "history": history[:7]}
    ranker_axes = {
        "query": rows,
        "candidates": {0: "batch", 1: "candidates"},
        "history": {0: "batch", 1: "items"},
        "scores": {0: "batch", 1: "candidates"},
    }
    export_onnx(ranker, whole, ranker_axes, out / "ranker.onnx")
    part = {"candidates": candidates[:, :30], "history": history[:7, -20:]}
    assert_same(ranker, out / "ranker.onnx", whole | part)
    films = (
        {"id": film.id, "title": film.title, "genres": film.genres, "year": film.year}
        for film in likes.films
    )
    lines = "".join(json.dumps(film, ensure_ascii=False) + "\n" for film in films)
    write(out / "items.jsonl", lines)
    ship(out, shipped(likes, towers, ranker, seconds))


def shipped(likes: Likes, towers: Towers, ranker: Ranker, seconds: float) -> Shipped:
    """What the folder says: scores on everybody's last like."""
    targets = np.array([person[-1] for person in likes.people])
    by_neighbours = without_seen(item_knn(likes, -1, N_LATEST, SHRINK), likes, -1)
    orders = {
        "towers and ranker": ranks(likes, towers, ranker),
        "towers alone": ranks(likes, towers, None),
        "films liked by the same people": places(by_neighbours, targets),
        "most liked": places(without_seen(most_popular(likes, -1), likes, -1), targets),
    }
    scores: dict[str, Score] = {}
    for name, order in orders.items():
        scores[f"recall@10, {name}"] = recall_at_10(order)
        scores[f"NDCG@10, {name}"] = ndcg_at_10(order)
    better = bootstrap(
        (orders["towers and ranker"] < 10).astype(np.float64)
        - (orders["films liked by the same people"] < 10)
    )
    scores["recall@10, gain over films liked by the same people"] = better
    n_towers, n_ranker = (sum(p.numel() for p in model.parameters()) for model in (towers, ranker))
    card = {
        "parameters": f"{n_towers:,} and {n_ranker:,}",
        "n_films": f"{len(likes.films):,}",
        "n_people": f"{len(likes.people):,}",
        "n_likes": f"{sum(map(len, likes.people)):,}",
        "steps": f"{TOWERS.n_steps:,}",
        "ranker_steps": f"{RANKER.n_steps:,}",
        "rows": str(TOWERS.rows),
        "seed": str(SEED),
        "minutes": f"{seconds / 60:.0f}",
        "n_latest": str(N_LATEST),
        "verdict": verdict(scores, better),
    }
    more = {"ranker": "ranker.onnx", "items": "items.jsonl"}
    return Shipped(NAME, "recommendation", {}, scores, card, more=more, licence=LICENCE)


def verdict(scores: dict[str, Score], gain: Score) -> str:
    """Whether both baselines are beaten, and how sure that is, as a sentence."""
    model, *baselines = (
        scores[f"recall@10, {name}"].mean
        for name in ("towers and ranker", "films liked by the same people", "most liked")
    )
    beaten = "beat" if model > max(baselines) else "do not beat"
    sure = "above zero" if gain.low > 0 else "not surely above zero: its interval holds zero"
    return f"Towers and ranker {beaten} both baselines in recall; the gain over item-kNN is {sure}."


def places(scores: NDArray[np.float64], targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many films score higher than the target, a tie counting as higher."""
    own = np.take_along_axis(scores, targets[:, None], 1)
    return np.asarray((scores >= own).sum(1) - 1, dtype=np.int64)


def recall_at_10(places: NDArray[np.int64]) -> Score:
    return bootstrap((places < 10).astype(np.float64))


def ndcg_at_10(places: NDArray[np.int64]) -> Score:
    """With one right answer: 1 / log2(place + 2), 0 beyond the tenth."""
    return bootstrap(np.where(places < 10, 1 / np.log2(places + 2), 0.0))
