"""The two towers and the ranker of weir-movies, and what they are told of films."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weir_inference.training.likes import Likes

WIDTH = 64
HISTORY = 50  # the latest likes that are looked at
POINT_DROPOUT = 0.2
SEEN = -1e9


@dataclass(frozen=True)
class Features:
    """What is known of the films in index order: genres [n, genres], years and popularity [n]."""

    genres: Tensor
    years: Tensor  # 0 is 1980, 1 is 20 years later
    popularity: Tensor  # ln of likes, less its mean


def features_of(likes: Likes, n_last: int) -> Features:
    """What was known before everybody's last `n_last` likes."""
    counts = np.ones(len(likes.films))
    for person in likes.people:
        np.add.at(counts, person[:-n_last], 1)
    names = sorted({genre for film in likes.films for genre in film.genres})
    genres = [[float(name in film.genres) for name in names] for film in likes.films]
    popularity = torch.tensor(np.log(counts), dtype=torch.float32)
    return Features(
        torch.tensor(genres),
        torch.tensor([(film.year - 1980) / 20 for film in likes.films]),
        popularity - popularity.mean(),
    )


def about(features: Features) -> Tensor:
    """The item tower's inputs beside the id [n, genres + 2]."""
    return torch.cat((features.genres, features.years[:, None], features.popularity[:, None]), 1)


class Towers(nn.Module):
    """Query, scores and points of a history.

    history int64 [batch, items], oldest first: index + 1, 0 is padding. Gives query [batch, WIDTH],
    scores [batch, n_items] (films of the history get SEEN) and points [n_items, WIDTH].
    """

    def __init__(self, features: Features) -> None:
        super().__init__()
        n_items, n_genres = features.genres.shape
        self.register_buffer("about", about(features))
        self.ids = nn.Embedding(n_items, WIDTH)
        self.described = nn.Linear(n_genres + 2, WIDTH)
        self.bias = nn.Parameter(features.popularity.clone())
        self.weight = nn.Linear(WIDTH, 1)
        self.recency = nn.Parameter(torch.zeros(HISTORY))
        self.mix = nn.Linear(2 * WIDTH, WIDTH)
        self.sharpness = nn.Parameter(torch.tensor(10.0).log())
        self.drop_point, self.drop = nn.Dropout(POINT_DROPOUT), nn.Dropout(0.3)
        nn.init.normal_(self.ids.weight, std=0.05)

    def points(self) -> Tensor:
        """The item tower: a direction [n_items, WIDTH] for every film, of length 1."""
        return F.normalize(self.drop_point(self.ids.weight + self.described(self.about)), dim=1)

    def query(self, history: Tensor, points: Tensor) -> Tensor:
        """The user tower: what the history has in common, the latest films counting for more."""
        history = history[:, -HISTORY:]
        there = history > 0
        liked = F.embedding((history - 1).clamp_min(0), points)
        # Counted from the newest, so that padding at the left does not move anything.
        after = there.flip(1).long().cumsum(1).flip(1) - 1
        weights = self.weight(liked)[:, :, 0] + self.recency[after.clamp_min(0)]
        weights = weights.masked_fill(~there, SEEN).softmax(1) * there
        taste = (weights[:, :, None] * liked).sum(1)
        newest = (liked * ((after == 0) & there)[:, :, None]).sum(1)
        both = self.drop(torch.cat((taste, newest), 1))
        return F.normalize(self.mix(both) + taste, dim=1) * self.sharpness.exp()

    def forward(self, history: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        points = self.points()
        query = self.query(history, points)
        scores = query @ points.T + self.bias
        seen = F.pad(torch.zeros_like(scores), (1, 0)).scatter(1, history, 1.0)[:, 1:]
        return query, scores + seen * SEEN, points


class Ranker(nn.Module):
    """Scores [batch, k] of candidates int64 [batch, k] (indices) for a query and its history."""

    genres: Tensor
    years: Tensor
    popularity: Tensor
    points: Tensor
    bias: Tensor

    def __init__(self, features: Features, points: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("genres", F.normalize(features.genres, dim=1))
        self.register_buffer("years", features.years)
        self.register_buffer("popularity", features.popularity)
        self.register_buffer("points", points.detach())
        self.register_buffer("bias", bias.detach())
        self.score = nn.Sequential(nn.Linear(9, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, query: Tensor, candidates: Tensor, history: Tensor) -> Tensor:
        history = history[:, -HISTORY:]
        there = (history > 0).float()
        n_liked = there.sum(1, keepdim=True).clamp_min(1.0)
        liked = (history - 1).clamp_min(0)
        product = (query[:, None] * self.points[candidates]).sum(2)
        retrieved = product + self.bias[candidates]
        # Points have length 1: their products are cosines, [batch, k, items].
        alike = self.points[candidates] @ self.points[liked].transpose(1, 2)
        alike = alike.masked_fill(there[:, None] == 0, -1.0)
        taste = (self.genres[liked] * there[:, :, None]).sum(1) / n_liked
        genre = (self.genres[candidates] * taste[:, None]).sum(2)
        year = self.years[candidates]
        usual = (self.years[liked] * there).sum(1, keepdim=True) / n_liked
        seen_much = (self.popularity[liked] * there).sum(1, keepdim=True) / n_liked
        features = (
            product, self.bias[candidates], self.popularity[candidates], alike.amax(2),
            alike.clamp_min(0).sum(2) / n_liked, genre, year - usual, (year - usual).abs(),
            self.popularity[candidates] - seen_much,
        )  # fmt: skip
        return retrieved + self.score(torch.stack(features, 2))[:, :, 0]  # type: ignore[no-any-return]
