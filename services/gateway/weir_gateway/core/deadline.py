"""The moment by which a request is over."""

from weir_kit.clock import Clock
from weir_kit.errors import DeadlineExceeded


class Deadline:
    """A time limit that starts now."""

    def __init__(self, clock: Clock, timeout_s: float) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self._ends_at_s = clock.monotonic_s() + timeout_s

    def remaining_s(self) -> float:
        """Seconds left, more than zero. Raises `DeadlineExceeded`."""
        remaining_s = self._ends_at_s - self._clock.monotonic_s()
        if remaining_s <= 0:
            raise DeadlineExceeded(f"the request took longer than {self._timeout_s:g} s")
        return remaining_s
