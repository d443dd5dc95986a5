"""The baseline of weir-language: naive Bayes over three bytes in a row."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from weir_inference.training.messages import Message

BUCKETS = 2**16  # trigrams share counts where their hashes meet


class Trigrams:
    """Counts of the learning texts, smoothed by a half; every language is as likely before."""

    def __init__(self, learn: Sequence[Message], languages: Sequence[str]) -> None:
        counts = np.full((len(languages), BUCKETS), 0.5)
        for message in learn:
            np.add.at(counts[languages.index(message.language)], buckets(message.text), 1.0)
        self._log_share = np.log(counts / counts.sum(1, keepdims=True)).astype(np.float32)

    def language(self, text: str) -> int:
        """The index of the likeliest language."""
        return int(self._log_share[:, buckets(text)].sum(1).argmax())


def buckets(text: str) -> NDArray[np.int64]:
    data = np.frombuffer(f" {text.lower()} ".encode(), dtype=np.uint8).astype(np.int64)
    return (data[:-2] * 65_599 + data[1:-1] * 2_053 + data[2:]) % BUCKETS
