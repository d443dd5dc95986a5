"""Recommendation: from what users liked to what they may like, and why."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from weir_inference.core.prediction import (
    Prediction,
    PredictionInput,
    PredictionOptions,
    Recommendation,
    Recommendations,
    User,
    Users,
)
from weir_inference.core.processing import Activation, Postprocess
from weir_inference.core.tasks.embed import normalised
from weir_inference.core.tasks.scores import Floats, activated
from weir_inference.core.tasks.task import Run, Signature, run_rows, taken
from weir_inference.core.tensors import Tensor
from weir_kit.errors import Internal, InvalidArgument

HISTORY, QUERY, SCORES, EMBEDDINGS = "history", "query", "scores", "item_embeddings"
CANDIDATES = "candidates"
CANDIDATES_MAX = 100  # items that are ranked, and so the most that are recommended
HISTORY_MAX = 512  # the latest items that the model is shown
TOP_K = 10
REASONS = 3
PART_NUMBERS = 1 << 22  # scores at a time
SHOWN_CHARS = 40


@dataclass(frozen=True)
class Catalogue:
    """The items that a model knows, in its order."""

    ids: Sequence[str]
    titles: Sequence[str]
    index: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", {one: i for i, one in enumerate(self.ids)})

    def indices(self, ids: Sequence[str], at: str) -> NDArray[np.int64]:
        """Where items stand. Raises `InvalidArgument` naming the first that is unknown."""
        found = [self.index.get(one) for one in ids]
        if None in found:
            i = found.index(None)
            raise InvalidArgument(
                f"this model knows no item {ids[i][:SHOWN_CHARS]!r}", field=f"{at}[{i}]"
            )
        return np.array(found, np.int64)


@dataclass(frozen=True)
class _Known:
    """A user by item indices; `taboo` are those not to recommend."""

    history: NDArray[np.int64]
    taboo: NDArray[np.int64]


class Recommend:
    """A `Task` over `history` (index + 1, padded with 0 at the left) → `query` and `scores`.

    The best by `scores` [rows, items] are ordered anew by the `ranker` of the folder, if it has
    one: `query`, `candidates`, `history` → `scores` [rows, candidates]. Where the model also has
    `item_embeddings` [items, dimensions], they tell which items of the history an item is near to.
    """

    def __init__(
        self,
        signature: Signature,
        catalogue: Catalogue,
        postprocess: Postprocess,
        ranker: str | None = None,
        *,
        explains: bool = False,
    ) -> None:
        self.signature = signature
        self.catalogue = catalogue
        self.postprocess = postprocess
        self.ranker = ranker
        self.explains = explains
        self._directions: Floats | None = None  # of the items, asked for once

    @property
    def kinds(self) -> tuple[type[PredictionInput], ...]:
        return (Users,)

    async def predict(
        self, run: Run, asked: PredictionInput, options: PredictionOptions
    ) -> list[Prediction]:
        """`Recommendations` of every user."""
        users = taken(asked, Users, "users").users
        known = [self._known(user, f"input.users[{i}]") for i, user in enumerate(users)]
        if self.explains and self._directions is None:
            self._directions = await self._ask_directions(run)
        n_rows = max(1, PART_NUMBERS // len(self.catalogue.ids))
        predictions: list[Prediction] = []
        for start in range(0, len(known), n_rows):
            part = known[start : start + n_rows]
            for user, (items, scores) in zip(part, await self._best(run, part), strict=True):
                n_wanted = options.top_k or self.postprocess.top_k or TOP_K
                predictions.append(self._recommended(user, items[:n_wanted], scores))
        return predictions

    def _known(self, user: User, at: str) -> _Known:
        history = self.catalogue.indices(user.history, f"{at}.history")
        excluded = self.catalogue.indices(user.excluded, f"{at}.excluded")
        return _Known(history, np.concatenate((history, excluded)))

    async def _ask_directions(self, run: Run) -> Floats:
        nobody = histories([np.zeros(0, np.int64)])
        embeddings = (await run({HISTORY: nobody}, (EMBEDDINGS,)))[EMBEDDINGS]
        if embeddings.shape[0] != len(self.catalogue.ids):
            raise Internal("the model has another number of items than its catalogue")
        return normalised(embeddings.astype(np.float32))

    async def _best(
        self, run: Run, users: Sequence[_Known]
    ) -> list[tuple[NDArray[np.int64], Floats]]:
        """For each user the items, best first, and their scores; none that is taboo."""
        history = histories([user.history for user in users])
        names = (SCORES, QUERY) if self.ranker else (SCORES,)
        scores, *query = await run_rows(run, self.signature, {HISTORY: history}, names)
        if scores.shape[-1] != len(self.catalogue.ids):
            raise Internal("the model has another number of items than its catalogue")
        found, scores = await asyncio.to_thread(_candidates, scores, [one.taboo for one in users])
        allowed = np.isfinite(scores)
        if self.ranker:
            inputs = {QUERY: query[0], CANDIDATES: found, HISTORY: history}
            scores = (await run(inputs, (SCORES,), self.ranker))[SCORES].astype(np.float32)
        return [_ordered(*row) for row in zip(found, scores, allowed, strict=True)]

    def _recommended(
        self, user: _Known, items: NDArray[np.int64], scores: Floats
    ) -> Recommendations:
        told = activated(scores, self.postprocess.activation or Activation.NONE)
        return Recommendations(
            tuple(
                Recommendation(
                    self.catalogue.ids[item],
                    self.catalogue.titles[item],
                    float(score),
                    self._because(user, item),
                )
                for item, score in zip(items, told, strict=False)
            )
        )

    def _because(self, user: _Known, item: int) -> tuple[str, ...]:
        if self._directions is None:
            return ()
        liked = np.unique(user.history)
        nearness = self._directions[liked] @ self._directions[item]
        return tuple(self.catalogue.ids[i] for i in liked[np.argsort(-nearness)[:REASONS]])


def histories(indices: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Rows of index + 1, the latest at the right, padded with 0 at the left."""
    width = min(HISTORY_MAX, max(1, *map(len, indices)))
    rows = np.zeros((len(indices), width), np.int64)
    for row, one in zip(rows, indices, strict=True):
        latest = one[-width:]
        row[width - len(latest) :] = latest + 1
    return rows


def _candidates(
    scores: Tensor, taboo: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.int64], Floats]:
    """The best of each row of scores [rows, items], in order of index, and their scores.

    What is taboo scores -inf; it is among them where there are too few others.
    """
    scores = scores.astype(np.float32)  # a copy, to be written into
    for row, items in zip(scores, taboo, strict=True):
        row[items] = -np.inf
    n_candidates = min(CANDIDATES_MAX, scores.shape[1])
    best = np.argpartition(-scores, n_candidates - 1, axis=1)[:, :n_candidates]
    best = np.sort(best, axis=1)  # so that of equal scores the first item comes first
    return best, np.take_along_axis(scores, best, 1)


def _ordered(
    found: NDArray[np.int64], scores: Floats, allowed: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], Floats]:
    found, scores = found[allowed], scores[allowed]
    order = np.argsort(-scores, kind="stable")
    return found[order], scores[order]
