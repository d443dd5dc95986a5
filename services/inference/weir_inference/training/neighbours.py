"""What a recommender must beat: the films most liked, and films liked by the same people."""

import numpy as np
from numpy.typing import NDArray

from weir_inference.training.likes import Likes

Scores = NDArray[np.float64]  # [people, films]


def most_popular(likes: Likes, at: int) -> Scores:
    """The same scores for everybody: how many liked it. `at` is the held-out like, from the end."""
    return np.broadcast_to(matrix(likes, at).sum(0), (len(likes.people), len(likes.films))).copy()


def item_knn(likes: Likes, at: int, n_latest: int, shrink: float) -> Scores:
    """The sum of cosines to the `n_latest` films liked last, shrunk where few people liked both."""
    liked = matrix(likes, at)
    both = liked.T @ liked
    norms = np.sqrt(np.diag(both))
    cosine = both / (np.outer(norms, norms) + shrink)
    np.fill_diagonal(cosine, 0.0)
    latest = np.zeros_like(liked)
    for row, person in zip(latest, likes.people, strict=True):
        row[person[:at][-n_latest:]] = 1.0
    return latest @ cosine


def without_seen(scores: Scores, likes: Likes, at: int) -> Scores:
    """Films liked before are not recommended again."""
    return np.where(matrix(likes, at) > 0, -np.inf, scores)


def matrix(likes: Likes, at: int) -> Scores:
    """[people, films], 1 where liked before the like `at`."""
    liked = np.zeros((len(likes.people), len(likes.films)))
    for row, person in zip(liked, likes.people, strict=True):
        row[person[:at]] = 1.0
    return liked
