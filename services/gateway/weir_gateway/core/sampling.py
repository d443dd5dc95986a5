"""How a client may steer the engine: plain data, the same on every wire."""

from dataclasses import dataclass, field
from enum import StrEnum


class Priority(StrEnum):
    """Who goes first among the waiting requests of a tenant."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class GrammarKind(StrEnum):
    """How a grammar is given."""

    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    LARK = "lark"
    CHOICES = "choices"


@dataclass(frozen=True)
class Grammar:
    """What an output must match. `texts` is one text, but for `CHOICES` one or more."""

    kind: GrammarKind
    texts: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. None: the engine's default. Ranges are checked in `limits`."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    grammar: Grammar | None = None
