"""When a caller that was refused should come back."""

from collections import deque

LEAST_S = 1.0
MOST_S = 30.0
ENDS_REMEMBERED = 32


class RetryAfter:
    """The mean time between the latest ends: when a place in the queue should be free."""

    def __init__(self) -> None:
        self._ends_s: deque[float] = deque(maxlen=ENDS_REMEMBERED)

    def ended(self, now_s: float) -> None:
        """A request ended."""
        self._ends_s.append(now_s)

    def seconds(self, now_s: float) -> float:
        """How long to wait, within bounds."""
        if not self._ends_s:
            return LEAST_S
        interval_s = (now_s - self._ends_s[0]) / len(self._ends_s)
        return min(max(interval_s, LEAST_S), MOST_S)
