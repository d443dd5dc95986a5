"""What a client asks of a model that answers in one piece, and what it gets: plain data."""

from dataclasses import dataclass, field
from typing import Any

from weir_gateway.core.call import Finding, Money, RateLimit, Work


@dataclass(frozen=True)
class Texts:
    """Texts, each an item."""

    texts: tuple[str, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Pictures:
    """Pictures as files (JPEG, PNG, …), each an item."""

    pictures: tuple[bytes, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True)
class Blobs:
    """Contents of files, each an item."""

    blobs: tuple[bytes, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.blobs)


@dataclass(frozen=True)
class RerankQuery:
    """A question, and documents that might answer it, each an item."""

    query: str = field(repr=False)
    documents: tuple[str, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.documents)


@dataclass(frozen=True)
class User:
    """What a user liked, the oldest first, and what not to recommend beside that: ids of items."""

    history: tuple[str, ...] = field(repr=False)
    excluded: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Users:
    """Users, each an item."""

    users: tuple[User, ...]

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True)
class Tensors:
    """A call by the Open Inference Protocol, as it came: core looks at none of `message`.

    `texts`: those of its BYTES elements that are UTF-8. `n_items`: its rows.
    """

    message: Any = field(repr=False)
    texts: tuple[str, ...] = field(repr=False)
    n_items: int

    def __len__(self) -> int:
        return self.n_items


PredictionInput = Texts | Pictures | Blobs | RerankQuery | Users | Tensors
"""What a model is to look at; its length is the number of items."""


@dataclass(frozen=True)
class PredictionOptions:
    """What of the answer is wanted; 0 and None are the model's own choice."""

    top_k: int = 0
    min_score: float | None = None
    dimensions: int = 0


@dataclass(frozen=True)
class PredictionCall:
    """One request of a client; `timeout_s` and `trace_id` as in `Call`.

    `version` is a number or an alias, "" the default one. `tasks`: those of models that can answer
    it; none: whatever does not generate.
    """

    request_id: str
    api_key: str = field(repr=False)
    model: str
    input: PredictionInput
    timeout_s: float
    version: str = ""
    options: PredictionOptions = field(default_factory=PredictionOptions)
    tasks: tuple[str, ...] = ()
    trace_id: str = ""


@dataclass(frozen=True)
class Answer:
    """A model's answer: the wire's own messages, which core hands on and looks at none of.

    `content`: a `Prediction` for each item, or the answer to `Tensors`.
    """

    version: str
    content: Any = field(repr=False)
    work: Work


@dataclass(frozen=True)
class Predicted:
    """The answer, and what was charged for it; `cost` is None when billing was away at the end.

    `input` is what the model looked at: as rules left it.
    """

    request_id: str
    input: PredictionInput
    rate_limit: RateLimit
    answer: Answer
    cost: Money | None
    findings: tuple[Finding, ...]


def texts_of(asked: PredictionInput) -> tuple[str, ...]:
    """The texts that rules look at."""
    match asked:
        case Texts() | Tensors():
            return asked.texts
        case RerankQuery():
            return (asked.query, *asked.documents)
    return ()
