"""The stages of a request, for its trace."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from weir_inference.core.request import Ending


@dataclass(frozen=True)
class Phase:
    """`queue`, `prefill` or `decode`, by the monotonic clock; `tokens` are those worked on."""

    name: str
    start_s: float
    end_s: float
    tokens: int


class Trace(Protocol):
    """Where phases go: the trace of the call being served."""

    def record(self, phase: Phase) -> None:
        """Take a phase that is over."""
        ...


def phases_of(ending: Ending) -> Iterator[Phase]:
    """The phases that a request went through; the last one ends where the request did."""
    started_s, first_s, ended_s = ending.started_at_s, ending.first_token_at_s, ending.ended_at_s
    yield Phase("queue", ending.queued_at_s, _or(started_s, ended_s), ending.input_tokens)
    if started_s is not None:
        yield Phase("prefill", started_s, _or(first_s, ended_s), ending.input_tokens)
    if first_s is not None:
        yield Phase("decode", first_s, ended_s, ending.output_tokens)


def _or(time_s: float | None, otherwise_s: float) -> float:
    return otherwise_s if time_s is None else time_s
