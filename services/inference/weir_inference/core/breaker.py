"""A circuit breaker: who waits for a peer that is dead is told so at once."""

from weir_kit.clock import Clock
from weir_kit.errors import Unavailable

PROBE_RETRY_S = 1.0  # what a caller is told while another one tries whether the peer is back


class Breaker:
    """Closed, calls pass. After `failures_max` in a row that failed it is open: none passes.

    After `open_s` seconds one call passes as a probe (half-open): if that goes well the breaker is
    closed, else it is open for twice as long, up to `open_s_max`.
    """

    def __init__(
        self, clock: Clock, failures_max: int = 5, open_s: float = 1.0, open_s_max: float = 30.0
    ) -> None:
        assert failures_max >= 1
        assert 0 < open_s <= open_s_max
        self._clock = clock
        self._failures_max = failures_max
        self._open_s_least = self._open_s = open_s
        self._open_s_max = open_s_max
        self._failures = 0
        self._opened_at_s: float | None = None
        self._probe: Passage | None = None
        # Calls that began before the breaker opened or closed say nothing of the peer as it is now.
        self._era = 0

    def enter(self) -> "Passage":
        """Let a call pass, which says once how it went. Raises `Unavailable`."""
        if self._opened_at_s is None:
            return Passage(self, self._era)
        left_s = self._opened_at_s + self._open_s - self._clock.monotonic_s()
        if left_s > 0 or self._probe is not None:
            raise Unavailable(
                "what runs this model is away for the moment",
                retry_after_s=left_s if left_s > 0 else PROBE_RETRY_S,
            )
        self._probe = Passage(self, self._era)
        return self._probe

    def take(self, passage: "Passage", went_well: bool | None) -> None:
        """How a call went; None where that says nothing. For `Passage`."""
        if passage.era != self._era:
            return
        if passage is self._probe:
            self._probe = None
        if went_well:
            self._failures = 0
            if self._opened_at_s is not None:
                self._close()
        elif went_well is not None:
            self._failures += 1
            if self._opened_at_s is not None:
                self._open(min(2 * self._open_s, self._open_s_max))
            elif self._failures >= self._failures_max:
                self._open(self._open_s_least)

    def _open(self, open_s: float) -> None:
        self._era += 1
        self._opened_at_s = self._clock.monotonic_s()
        self._open_s = open_s

    def _close(self) -> None:
        self._era += 1
        self._opened_at_s = None


class Passage:
    """A call that a breaker let pass. The first word of how it went counts, no later one."""

    def __init__(self, breaker: Breaker, era: int) -> None:
        self.era = era
        self._breaker: Breaker | None = breaker

    def went_well(self) -> None:
        """The peer lives."""
        self._end(True)

    def went_badly(self) -> None:
        """The peer did not answer, or not as it should."""
        self._end(False)

    def leave(self) -> None:
        """The call is over; without a word before, it says nothing of the peer."""
        self._end(None)

    def _end(self, went_well: bool | None) -> None:
        breaker, self._breaker = self._breaker, None
        if breaker is not None:
            breaker.take(self, went_well)
