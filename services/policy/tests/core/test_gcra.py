"""The rate limit's arithmetic."""

from hypothesis import given
from hypothesis import strategies as st

from weir_policy.core.gcra import PERIOD_US, REQUESTS_PER_MINUTE_MAX, decide

NOW = 1_800_000_000_000_000


def test_a_fresh_limit_lets_its_number_through_at_once_and_then_one_per_interval() -> None:
    tat, verdicts = 0, []
    for _ in range(4):
        verdict = decide(NOW, tat, 3)
        tat = verdict.tat_us
        verdicts.append((verdict.allowed, verdict.remaining))
    assert verdicts == [(True, 2), (True, 1), (True, 0), (False, 0)]
    refusal = decide(NOW, tat, 3)
    assert refusal.retry_after_us == 20_000_000
    assert refusal.reset_us == PERIOD_US
    assert not decide(NOW + refusal.retry_after_us - 1, tat, 3).allowed
    assert decide(NOW + refusal.retry_after_us, tat, 3).allowed


def test_an_idle_limit_is_whole_again() -> None:
    assert decide(NOW, NOW - 1, 7).remaining == 6


@given(
    limit=st.integers(1, 50),
    gaps_us=st.lists(st.integers(0, 20_000_000), min_size=1, max_size=120),
)
def test_no_window_lets_more_through_than_the_burst_and_the_rate_allow(
    limit: int, gaps_us: list[int]
) -> None:
    now, tat = NOW, 0
    allowed: list[int] = []
    for gap in gaps_us:
        now += gap
        verdict = decide(now, tat, limit)
        assert verdict.allowed == (verdict.retry_after_us == 0)
        assert 0 <= verdict.remaining < limit
        assert 0 <= verdict.reset_us <= limit * -(-PERIOD_US // limit)
        if verdict.allowed:
            allowed.append(now)
        tat = verdict.tat_us
    for first, start in enumerate(allowed):
        for last in range(first, len(allowed)):
            passed = last - first + 1
            assert passed <= limit + (allowed[last] - start) * limit / PERIOD_US + 1e-6


@given(
    limit=st.integers(1, REQUESTS_PER_MINUTE_MAX),
    ahead_us=st.integers(-PERIOD_US, 3 * PERIOD_US),
)
def test_waiting_as_told_is_enough_and_no_less_is(limit: int, ahead_us: int) -> None:
    tat = NOW + ahead_us
    verdict = decide(NOW, tat, limit)
    if verdict.allowed:
        return
    assert decide(NOW + verdict.retry_after_us, tat, limit).allowed
    assert not decide(NOW + verdict.retry_after_us - 1, tat, limit).allowed
