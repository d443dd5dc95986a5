"""The calls of a model that wait, in the order in which they are due.

A call is due at once, a second later or two seconds later by its priority, or at its deadline if
that is sooner. Who is due first goes first. So one number, fixed when the call comes, puts high
priorities first, lets calls that would be late pass, and starves nobody: two seconds later, no
newcomer can be due before a call that still waits.
"""

import asyncio
from bisect import bisect_left, insort
from collections.abc import Hashable
from dataclasses import dataclass

from weir_inference.core.tensor_engine import InferRequest, InferResult

CLASS_S = 1.0  # what a class of priority is worth


@dataclass(eq=False, slots=True)
class Call:
    """A call that came. Only calls of the same `kind` can be computed together."""

    number: int
    request: InferRequest
    rows: int
    kind: Hashable
    queued_at_s: float
    answer: "asyncio.Future[InferResult]"

    @property
    def due_s(self) -> float:
        """By the monotonic clock."""
        due_s = self.queued_at_s + CLASS_S * self.request.priority
        deadline_s = self.request.deadline_s
        return due_s if deadline_s is None else min(due_s, deadline_s)

    def late(self, now_s: float) -> bool:
        """Whether its deadline has passed."""
        return self.request.deadline_s is not None and self.request.deadline_s <= now_s


class CallQueue:
    """Calls by kind; of each kind the first due comes first, of equals the one that came first."""

    def __init__(self) -> None:
        self.rows = 0
        self._n_calls = 0
        self._kinds: dict[Hashable, list[tuple[float, int, Call]]] = {}

    def __len__(self) -> int:
        return self._n_calls

    def put(self, call: Call) -> None:
        """A call that came."""
        insort(self._kinds.setdefault(call.kind, []), _place(call))
        self._n_calls += 1
        self.rows += call.rows

    def discard(self, call: Call) -> None:
        """A call whose caller went away, if it still waits."""
        calls = self._kinds.get(call.kind, [])
        place = bisect_left(calls, _place(call))
        if place < len(calls) and calls[place][2] is call:
            self._leave(call.kind, [calls.pop(place)])

    def head(self) -> Call | None:
        """The call that is due first."""
        firsts = (calls[0] for calls in self._kinds.values())
        first = min(firsts, default=None)
        return None if first is None else first[2]

    def take(self, rows_max: int) -> list[Call]:
        """The first call, and those of its kind after it up to so many rows; empty if none waits.

        A call of more rows than that is taken alone.
        """
        head = self.head()
        if head is None:
            return []
        calls = self._kinds[head.kind]
        n_taken, rows = 1, head.rows
        while n_taken < len(calls) and rows + calls[n_taken][2].rows <= rows_max:
            rows += calls[n_taken][2].rows
            n_taken += 1
        taken = calls[:n_taken]
        del calls[:n_taken]
        self._leave(head.kind, taken)
        return [call for _, _, call in taken]

    def drain(self) -> list[Call]:
        """All that wait; none does from now on."""
        calls = [call for calls in self._kinds.values() for _, _, call in calls]
        self._kinds.clear()
        self._n_calls = self.rows = 0
        return calls

    def rows_beside(self, call: Call) -> int:
        """Rows of all that wait and can be computed with a call that waits, itself included."""
        return sum(other.rows for _, _, other in self._kinds[call.kind])

    def _leave(self, kind: Hashable, taken: list[tuple[float, int, Call]]) -> None:
        if not self._kinds[kind]:
            del self._kinds[kind]
        self._n_calls -= len(taken)
        self.rows -= sum(call.rows for _, _, call in taken)


def _place(call: Call) -> tuple[float, int, Call]:
    return call.due_s, call.number, call  # numbers differ, so calls are never compared
