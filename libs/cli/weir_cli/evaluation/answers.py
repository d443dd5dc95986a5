"""What a served model answered to an example, and what all answers took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from weir import Generation, Prediction, ScoredClass
from weir_cli.evaluation.boxes import Box


@dataclass(frozen=True)
class Classes:
    """Scores by label, the likeliest first."""

    scores: Mapping[str, float]


def classes_of(scored: Sequence[ScoredClass], names: Mapping[str, str]) -> Classes:
    """The classes under the suite's names for them; those with one name are added up."""
    scores: dict[str, float] = {}
    for one in scored:
        label = names.get(one.label, one.label)
        scores[label] = scores.get(label, 0.0) + one.score
    return Classes(dict(sorted(scores.items(), key=lambda item: -item[1])))


@dataclass(frozen=True)
class Found:
    """What is in a picture."""

    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Ranking:
    """Places or ids, the best first."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Tokens:
    """Natural log-probabilities of tokens; whether each was the likeliest at its place."""

    logprobs: tuple[float, ...]
    are_likeliest: bool


@dataclass(frozen=True)
class Preferred:
    """Which of two texts is likelier, by the sum over its tokens."""

    better: float
    worse: float


@dataclass(frozen=True)
class Unanswered:
    """The example was refused; `reason` is the error's, as `content_blocked`."""

    reason: str
    message: str


Answer: TypeAlias = Classes | Found | Ranking | Tokens | Preferred | Unanswered


@dataclass
class Spent:
    """What the calls took, and which versions answered them. Cost is in nano units (1e-9)."""

    calls: int = 0
    items: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    compute_us: int = 0
    cost_nanos: int = 0
    currency: str | None = None
    unpriced_calls: int = 0  # charged later, because the ledger was away
    versions: set[str] = field(default_factory=set)

    def count(self, answer: Generation | Prediction[object]) -> None:
        """Add a call."""
        self.calls += 1
        if isinstance(answer, Generation):
            self.items += 1
            self.input_tokens += answer.usage.input_tokens
            self.output_tokens += answer.usage.output_tokens
        else:
            self.items += answer.usage.items
            self.compute_us += answer.usage.compute_us
            self.versions.add(answer.version)
        if answer.cost_nanos is None:
            self.unpriced_calls += 1
        else:
            self.cost_nanos += answer.cost_nanos
            self.currency = answer.currency
