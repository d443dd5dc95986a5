"""What one tenant waits for, runs and was given."""

from collections import deque
from collections.abc import Iterator

from weir_inference.core.request import Priority
from weir_inference.core.sequence import Sequence

AGING_S = 10.0


class Tenant:
    """A tenant with at least one request in the engine.

    Its waiting requests leave in the order of their priority class, then of arrival. Each `AGING_S`
    of waiting lifts a request by one class, so that a high class cannot starve a low one. `served`
    counts weighted tokens: see `FairQueue`.
    """

    def __init__(self, tenant_id: str, served: float) -> None:
        self.tenant_id = tenant_id
        self.served = served
        self.n_running = 0
        self.n_waiting = 0
        self._classes: tuple[deque[Sequence], ...] = tuple(deque() for _ in Priority)

    def __iter__(self) -> Iterator[Sequence]:
        for waiting in self._classes:
            yield from waiting

    def head(self, now_s: float) -> Sequence:
        """Who leaves the queue next."""
        heads = (waiting[0] for waiting in self._classes if waiting)
        return min(heads, key=lambda sequence: (_aged_class(sequence, now_s), sequence.number))

    def put(self, sequence: Sequence) -> None:
        """Let a sequence wait: a new one, or one that lost its place and was here before others."""
        waiting = self._classes[sequence.request.priority]
        if waiting and sequence.number < waiting[-1].number:
            ahead = sum(other.number < sequence.number for other in waiting)
            waiting.insert(ahead, sequence)
        else:
            waiting.append(sequence)
        self.n_waiting += 1

    def remove(self, sequence: Sequence) -> None:
        """Let a sequence wait no longer."""
        waiting = self._classes[sequence.request.priority]
        if waiting[0] is sequence:
            waiting.popleft()
        else:
            waiting.remove(sequence)
        self.n_waiting -= 1


def _aged_class(sequence: Sequence, now_s: float) -> int:
    return max(0, sequence.request.priority - int((now_s - sequence.queued_at_s) / AGING_S))
