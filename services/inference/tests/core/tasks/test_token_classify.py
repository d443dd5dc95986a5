"""Token classification: spans from the labels of tokens."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from weir_inference.core.prediction import PredictionOptions, Spans, Texts
from weir_inference.core.processing import Postprocess
from weir_inference.core.tasks.token_classify import (
    NO_WORD,
    TokenClassify,
    TokenPlaces,
    spans_of,
)

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")

# Spans and gaps, each of some words: (what, or None for a gap; tokens of each word).
pieces = st.lists(
    st.tuples(
        st.sampled_from([None, "PER", "LOC"]), st.lists(st.integers(1, 3), min_size=1, max_size=3)
    ),
    max_size=8,
)


@given(pieces, st.integers(0, 3))
def test_spans_that_are_written_as_iob2_are_read_back(
    pieces: list[tuple[str | None, list[int]]], n_padding: int
) -> None:
    labels, starts, ends, words = ["O"], [0], [0], [NO_WORD]
    expected: list[tuple[int, int, str]] = []
    at = 0  # tokens are two code points, and a space is between words
    for what, word_tokens in pieces:
        first = at
        for i, n_tokens in enumerate(word_tokens):
            prefix = "" if what is None else "B-" if i == 0 else "I-"
            word = words[-1] + 1 if words[-1] != NO_WORD else 0
            for k in range(n_tokens):
                # Only the first token of a word counts.
                labels.append(f"{prefix}{what or 'O'}" if k == 0 else "B-LOC")
                starts.append(at)
                ends.append(at + 2)
                words.append(word)
                at += 2
            at += 1
        if what is not None:
            expected.append((first, at - 1, what))
    scores = np.full((len(labels) + n_padding, len(LABELS)), 0.05, np.float32)
    for row, label in zip(scores, labels, strict=False):
        row[LABELS.index(label)] = 0.8

    spans = spans_of(scores, TokenPlaces(*map(np.array, (starts, ends, words))), LABELS)

    assert [(span.start, span.end, span.label) for span in spans] == expected
    assert all(abs(span.score - 0.8) < 1e-6 for span in spans)


def test_labels_without_prefixes_join_neighbours_of_the_same_name() -> None:
    labels = ("O", "PER", "LOC")
    best = [1, 1, 2, 0, 2]
    scores = np.eye(3, dtype=np.float32)[best]
    places = TokenPlaces(np.arange(5) * 2, np.arange(5) * 2 + 1, np.arange(5))
    assert [(s.start, s.end, s.label) for s in spans_of(scores, places, labels)] == [
        (0, 3, "PER"),
        (4, 5, "LOC"),
        (8, 9, "LOC"),
    ]


async def test_unsure_spans_are_left_out(fake_model: Any, fake_encoder: Any) -> None:
    scores = np.array([[[0.1, 0.9], [1.0, 0.0], [0.4, 0.6]]], np.float32)
    places = TokenPlaces(np.array([0, 2, 4]), np.array([1, 3, 5]), np.arange(3))
    model = fake_model(lambda inputs: {"logits": np.log(inputs["x"] + 1e-9)})
    encoder = fake_encoder(scores, [places])
    task = TokenClassify(encoder, model, "logits", ("O", "B-X"), Postprocess(threshold=0.7))

    async def found(**options: Any) -> list[tuple[int, int]]:
        (one,) = await task.predict(model, Texts(("a b c",)), PredictionOptions(**options))
        assert isinstance(one, Spans)
        return [(span.start, span.end) for span in one.spans]

    assert await found() == [(0, 1)]
    assert await found(min_score=0.5) == [(0, 1), (4, 5)]
