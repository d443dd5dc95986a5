"""Token classification: the named parts of a text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weir_inference.core.prediction import (
    Prediction,
    PredictionInput,
    PredictionOptions,
    Span,
    Spans,
    Texts,
)
from weir_inference.core.processing import Activation, Postprocess
from weir_inference.core.tasks.scores import Floats, activated, check_columns
from weir_inference.core.tasks.task import Encoder, Run, Signature, run_rows, taken

OUTSIDE = "O"
NO_WORD = -1  # of tokens that stand for no text, such as [CLS] and padding


@dataclass(frozen=True)
class TokenPlaces:
    """Where the tokens of a text stand in it: code points, and the index of each one's word."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    words: NDArray[np.int64]


@dataclass(frozen=True)
class TokenClassify:
    """A `Task` over one output [rows, tokens, labels], of labels as IOB2 has them, or plain."""

    encoder: Encoder[Texts, TokenPlaces]
    signature: Signature
    output: str
    labels: Sequence[str]
    postprocess: Postprocess

    @property
    def kinds(self) -> tuple[type[PredictionInput], ...]:
        return (Texts,)

    async def predict(
        self, run: Run, asked: PredictionInput, options: PredictionOptions
    ) -> list[Prediction]:
        """`Spans` of every text."""
        least = self.postprocess.threshold if options.min_score is None else options.min_score
        activation = self.postprocess.activation or Activation.SOFTMAX
        predictions: list[Prediction] = []
        async for rows in self.encoder.rows(taken(asked, Texts, "texts")):
            (numbers,) = await run_rows(run, self.signature, rows.inputs, (self.output,))
            check_columns(numbers.shape[-1], self.labels)
            for scores, places in zip(activated(numbers, activation), rows.about, strict=True):
                spans = spans_of(scores, places, self.labels)
                predictions.append(
                    Spans(tuple(one for one in spans if least is None or one.score >= least))
                )
        return predictions


@dataclass(frozen=True)
class _Word:
    start: int
    end: int
    label: str
    score: float


def spans_of(scores: Floats, places: TokenPlaces, labels: Sequence[str]) -> list[Span]:
    """The spans of a text, from scores [tokens, labels].

    A word has the label of its first token, so that no span ends within a word. A span's score is
    the mean of its words'.
    """
    spans: list[Span] = []
    open_words: list[_Word] = []
    for word in _words(scores, places, labels):
        if open_words and not _goes_on(open_words[-1].label, word.label):
            spans.append(_span(open_words))
            open_words = []
        if word.label != OUTSIDE:
            open_words.append(word)
    if open_words:
        spans.append(_span(open_words))
    return spans


def _words(scores: Floats, places: TokenPlaces, labels: Sequence[str]) -> Iterator[_Word]:
    words = places.words
    best = scores[: len(words)].argmax(-1)
    n_tokens = len(words)
    first = 0
    while first < n_tokens:
        last = first
        while last + 1 < n_tokens and words[last + 1] == words[first]:
            last += 1
        if words[first] != NO_WORD:
            label = int(best[first])
            yield _Word(
                int(places.starts[first]),
                int(places.ends[last]),
                labels[label],
                float(scores[first, label]),
            )
        first = last + 1


def _goes_on(before: str, label: str) -> bool:
    """Whether a word belongs to the span of the word before it."""
    return not label.startswith("B-") and label != OUTSIDE and _name(before) == _name(label)


def _name(label: str) -> str:
    return label[2:] if label[:2] in ("B-", "I-") else label


def _span(words: Sequence[_Word]) -> Span:
    score = sum(word.score for word in words) / len(words)
    return Span(words[0].start, words[-1].end, _name(words[0].label), score)
