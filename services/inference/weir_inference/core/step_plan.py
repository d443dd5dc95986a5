"""What one engine step computes, and what came of it."""

from collections.abc import Sequence as ReadOnlyList
from dataclasses import dataclass

from weir_inference.core.request import EndReason, Request
from weir_inference.core.sequence import Sequence


@dataclass(frozen=True)
class Slice:
    """The tokens of one sequence that a step computes.

    `token_ids` stand at positions `start`, `start + 1`, …; their keys and values go into
    `block_ids`, which also hold all earlier ones. `samples` says that the slice ends at the last
    known token, so that the step chooses the next one: output number `n_output`.
    """

    sequence: Sequence
    start: int
    token_ids: ReadOnlyList[int]
    block_ids: ReadOnlyList[int]
    samples: bool
    n_output: int

    @property
    def request(self) -> Request:
        """The request that the slice belongs to."""
        return self.sequence.request

    @property
    def end(self) -> int:
        """Tokens whose keys and values are in the cache after the step."""
        return self.start + len(self.token_ids)


@dataclass(frozen=True)
class StepPlan:
    """One step: slices of different sequences, oldest first, and who left the queue for it."""

    slices: tuple[Slice, ...]
    started: tuple[Sequence, ...] = ()


@dataclass(frozen=True)
class Advance:
    """What a step gave one sequence: a token or none (end of text), and the end if it came."""

    sequence: Sequence
    token_id: int | None
    reason: EndReason | None
