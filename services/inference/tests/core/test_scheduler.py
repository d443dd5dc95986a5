"""The scheduler's rules, one at a time."""

import pytest

from weir_inference.core.request import EndReason, Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.scheduler import Limits, Scheduler
from weir_inference.core.sequence import Sequence, State
from weir_inference.core.step_plan import StepPlan
from weir_kit.errors import ContextLengthExceeded, QueueFull

EOS = 2


def scheduler(**changes: int) -> Scheduler:
    limits = {
        "n_blocks": 64,
        "block_size": 16,
        "context_tokens": 512,
        "max_running": 8,
        "max_queued": 8,
        "step_tokens": 64,
    }
    return Scheduler(Limits(**{**limits, **changes}), [EOS])


def request(n_prompt: int, n_output: int = 10, name: str = "a", **sampling: bool) -> Request:
    return Request(name, tuple(range(3, 3 + n_prompt)), n_output, Sampling(seed=1, **sampling))


def turn(it: Scheduler, token_id: int = 7) -> StepPlan:
    plan = it.plan(0.0)
    it.commit(plan, [token_id] * sum(one.samples for one in plan.slices), 0.0)
    return plan


def sizes(plan: StepPlan) -> list[tuple[str, int]]:
    return [(one.request.request_id, len(one.token_ids)) for one in plan.slices]


def test_a_long_prompt_is_computed_in_chunks_and_samples_once_at_its_end() -> None:
    it = scheduler(step_tokens=10)
    sequence = it.add(request(25), 0.0)
    plans = [turn(it) for _ in range(4)]
    assert [sizes(plan) for plan in plans] == [[("a", 10)], [("a", 10)], [("a", 5)], [("a", 1)]]
    assert [plan.slices[0].samples for plan in plans] == [False, False, True, True]
    assert sequence.token_ids[25:] == [7, 7]


def test_decoding_and_a_new_prompt_share_one_step_within_the_budget() -> None:
    it = scheduler(step_tokens=10)
    it.add(request(4, name="old"), 0.0)
    turn(it)
    it.add(request(30, name="new"), 0.0)
    assert sizes(turn(it)) == [("old", 1), ("new", 9)]


def test_a_request_is_reported_as_started_once_though_it_was_preempted() -> None:
    it = scheduler(n_blocks=4, block_size=4, context_tokens=16)
    it.add(request(4, 12, "old"), 0.0)
    young = it.add(request(4, 12, "young"), 0.0)
    started = []
    for _ in range(40):
        started += [s.request.request_id for s in turn(it).started]
    assert started == ["old", "young"]
    assert young.reason is EndReason.LENGTH


def test_the_youngest_gives_way_when_memory_runs_out_and_computes_its_tokens_again() -> None:
    it = scheduler(n_blocks=5, block_size=4, context_tokens=20)
    old = it.add(request(4, 12, "old"), 0.0)
    young = it.add(request(4, 12, "young"), 0.0)
    while young.state is not State.WAITING or young.n_output == 0:
        turn(it)
    assert old.state is State.RUNNING
    assert young.n_computed == 0
    assert young.block_ids == []
    known = list(young.token_ids)
    while young.state is State.WAITING:
        plan = turn(it)
    assert list(plan.slices[-1].token_ids) == known, "all that was known is computed anew"
    while it.running:
        turn(it)
    assert (old.n_output, young.n_output) == (12, 12)


def test_a_preempted_request_goes_ahead_of_those_that_never_ran() -> None:
    it = scheduler(n_blocks=5, block_size=4, context_tokens=20, max_running=2)
    for name in ("old", "young", "newcomer"):
        it.add(request(4, 12, name), 0.0)
    while len(it.running) != 1 or len(it.waiting) != 2:
        turn(it)
    assert [s.request.request_id for s in it.running] == ["old"]
    assert [s.request.request_id for s in it.waiting] == ["young", "newcomer"]


def test_what_can_never_fit_is_refused_at_once() -> None:
    it = scheduler(context_tokens=32)
    with pytest.raises(ContextLengthExceeded) as refused:
        it.add(request(30, 3), 0.0)
    assert refused.value.field == "max_output_tokens"
    with pytest.raises(ContextLengthExceeded) as refused:
        it.add(request(32, 1), 0.0)
    assert refused.value.field == "prompt_token_ids"
    it.add(request(30, 2), 0.0)


def test_a_full_queue_says_when_to_come_back() -> None:
    it = scheduler(max_queued=2, max_running=1)
    done = it.add(request(4), 0.0)
    it.end(done, EndReason.CANCELLED, 1.0)
    it.add(request(4), 1.0)
    it.add(request(4), 1.0)
    with pytest.raises(QueueFull) as refused:
        it.add(request(4), 6.0)
    assert refused.value.retry_after_s == pytest.approx(5.0)


def test_the_end_of_text_token_ends_the_request_and_is_not_output() -> None:
    it = scheduler()
    sequence = it.add(request(4), 0.0)
    turn(it, token_id=EOS)
    assert sequence.reason is EndReason.STOP
    assert sequence.n_output == 0


def test_the_end_of_text_token_can_be_ignored() -> None:
    it = scheduler()
    sequence = it.add(request(4, 3, ignore_eos=True), 0.0)
    for _ in range(3):
        turn(it, token_id=EOS)
    assert sequence.token_ids[4:] == [EOS] * 3
    assert sequence.reason is EndReason.LENGTH


def test_a_failed_step_ends_its_own_requests_only() -> None:
    it = scheduler(max_running=1)
    first, second = it.add(request(4, name="a"), 0.0), it.add(request(4, name="b"), 0.0)
    plan = it.plan(0.0)
    assert it.fail(plan, 0.0) == [first]
    assert first.reason is EndReason.ERROR
    assert it.pool.n_held == 0
    assert sizes(turn(it)) == [("b", 4)]
    assert second.state is State.RUNNING


def test_cancelling_during_a_step_frees_the_blocks_and_drops_the_token() -> None:
    it = scheduler()
    sequence = it.add(request(4), 0.0)
    plan = it.plan(0.0)
    it.end(sequence, EndReason.CANCELLED, 0.0)
    assert it.pool.n_held == 0
    assert plan.slices[0].block_ids, "the step under way keeps its list"
    assert it.commit(plan, [7], 0.0) == []
    assert sequence.n_output == 0


def test_a_passed_deadline_ends_running_and_waiting_requests() -> None:
    it = scheduler(max_running=1)
    sampling = Sampling(seed=1)
    late = [it.add(Request(n, (3, 4), 9, sampling, deadline_s=5.0), 0.0) for n in "ab"]
    turn(it)
    assert it.expire(4.9) == []
    assert it.expire(5.0) == late
    assert it.pool.n_held == 0
    assert not it.waiting


def test_nobody_overtakes_a_request_that_does_not_fit_yet() -> None:
    it = scheduler(n_blocks=6, block_size=4, context_tokens=24)
    it.add(request(8, 8, "first"), 0.0)
    turn(it)
    big: Sequence = it.add(request(20, 4, "big"), 0.0)
    small: Sequence = it.add(request(1, 1, "small"), 0.0)
    turn(it)
    assert [big.state, small.state] == [State.WAITING, State.WAITING]
