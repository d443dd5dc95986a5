"""The breaker against its rule, for any course of calls."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from weir_inference.core.breaker import Breaker, Passage
from weir_kit.clock import ManualClock
from weir_kit.errors import Unavailable

FAILURES_MAX = 3
OPEN_S, OPEN_S_MAX = 1.0, 4.0


class AnyCourse(RuleBasedStateMachine):
    """Calls come, and end well, badly or without a word, in any order, while time goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.breaker = Breaker(self.clock, FAILURES_MAX, OPEN_S, OPEN_S_MAX)
        self.calls: list[Passage] = []
        # What the rule says: whose word counts, failures in a row, until when it is open.
        self.heard: list[Passage] = []
        self.failures = 0
        self.open_s = OPEN_S
        self.open_until_s: float | None = None

    @rule()
    def begin(self) -> None:
        is_open = self.open_until_s is not None
        early = self.open_until_s is not None and self.clock.monotonic_s() < self.open_until_s
        may = not is_open or not (early or self.heard)
        try:
            passage = self.breaker.enter()
        except Unavailable as error:
            assert not may
            assert error.retry_after_s is not None
            assert 0 < error.retry_after_s <= OPEN_S_MAX
        else:
            assert may
            self.calls.append(passage)
            self.heard.append(passage)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), went_well=st.sampled_from([True, False, None]))
    def end(self, data: st.DataObject, went_well: bool | None) -> None:
        passage = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        {True: passage.went_well, False: passage.went_badly, None: passage.leave}[went_well]()
        passage.went_badly()  # a second word does not count
        if passage not in self.heard:
            return
        self.heard.remove(passage)
        if went_well:
            self.failures = 0
            if self.open_until_s is not None:
                self.changes(None)
        elif went_well is False:
            self.failures += 1
            if self.open_until_s is not None:
                self.open_s = min(2 * self.open_s, OPEN_S_MAX)
                self.changes(self.clock.monotonic_s() + self.open_s)
            elif self.failures == FAILURES_MAX:
                self.open_s = OPEN_S
                self.changes(self.clock.monotonic_s() + self.open_s)

    def changes(self, open_until_s: float | None) -> None:
        self.open_until_s = open_until_s
        self.heard = []

    @rule(part=st.sampled_from([0.25, 0.5, 1.0]))
    def wait(self, part: float) -> None:
        self.clock.advance(part * self.open_s)


TestAnyCourse = AnyCourse.TestCase
