"""Ids, passed in, so that tests can replay."""

import random
import secrets
from typing import Protocol

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
LENGTH = 24


class Ids(Protocol):
    """A source of ids that do not repeat."""

    def new(self, prefix: str) -> str:
        """`prefix_` and 24 characters of base 36 (124 bits)."""
        ...


class RandomIds:
    """Ids from the operating system's randomness."""

    def new(self, prefix: str) -> str:
        return f"{prefix}_{''.join(secrets.choice(ALPHABET) for _ in range(LENGTH))}"


class SeededIds:
    """The same ids in every run, for tests."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311

    def new(self, prefix: str) -> str:
        return f"{prefix}_{''.join(self._random.choices(ALPHABET, k=LENGTH))}"
