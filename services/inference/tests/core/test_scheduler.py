"""The scheduler's rules, one at a time."""

from typing import Any

import pytest

from weir_inference.core.request import EndReason, Priority, Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.scheduler import SHARED_S, Limits, Scheduler
from weir_inference.core.sequence import Sequence, State
from weir_inference.core.step_plan import Advance, SliceResult, StepPlan
from weir_inference.core.token_logprob import TokenLogprob
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


def request(n_prompt: int, n_output: int = 10, name: str = "a", **fields: Any) -> Request:
    sampling = Sampling(seed=1, **fields.pop("sampling", {}))
    return Request(name, tuple(range(3, 3 + n_prompt)), n_output, sampling, **fields)


def turn(it: Scheduler, token_id: int = 7, now_s: float = 0.0) -> StepPlan:
    plan = it.plan(now_s)
    it.commit(plan, [SliceResult((token_id,) * one.n_sampled) for one in plan.slices], now_s)
    return plan


class NoGrammar:
    def matcher(self) -> Any: ...


def cut(it: Scheduler, *token_ids: int, cut_at: int) -> Advance:
    """Turn a step in which a grammar cuts off the one sequence that runs."""
    plan = it.plan(0.0)
    [advance] = it.commit(plan, [SliceResult(token_ids, cut_at=cut_at)], 0.0)
    return advance


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


def test_among_tenants_a_prompt_of_one_that_decodes_gets_a_third_of_a_step() -> None:
    it = scheduler(step_tokens=12)
    it.add(request(4, name="old"), 0.0)
    turn(it)
    it.add(request(60, name="new"), 0.0)
    assert sizes(turn(it)) == [("old", 1), ("new", 11)], "it has the engine for itself"
    it.add(request(10, name="other", tenant_id="other"), 1.0)
    assert dict(sizes(turn(it, now_s=1.0))) == {"old": 1, "other": 10, "new": 1}
    assert dict(sizes(turn(it, now_s=SHARED_S))) == {"old": 1, "other": 1, "new": 4}
    assert dict(sizes(turn(it, now_s=1.0 + SHARED_S))) == {"old": 1, "other": 1, "new": 10}


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
    it = scheduler(n_blocks=5, block_size=4, context_tokens=20, prefix_caching=False)
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


def test_what_is_computed_anew_after_preemption_is_found_in_the_cache() -> None:
    it = scheduler(n_blocks=7, block_size=4, context_tokens=24)
    it.add(request(4, 12, "old"), 0.0)
    young = it.add(request(9, 12, "young", tenant_id="other"), 0.0)
    while it.preemptions == 0:
        turn(it)
    while young.state is State.WAITING:
        plan = turn(it)
    assert plan.slices[-1].start >= 4
    assert young.cached_tokens == 0, "it found nothing when it came"


def test_an_output_that_its_grammar_cuts_off_has_not_stopped_by_itself() -> None:
    it = scheduler()
    sequence = it.add(request(4, grammar=NoGrammar()), 0.0)
    turn(it)
    advance = cut(it, EOS, cut_at=0)  # what the runner chose there counts for nothing
    assert (advance.token_ids, advance.reason) == ((), EndReason.LENGTH)
    assert (sequence.reason, sequence.n_output) == (EndReason.LENGTH, 1)
    assert it.pool.n_held == 0


def test_the_other_outputs_of_a_call_are_queued_however_many_wait() -> None:
    it = scheduler(max_queued=2, max_queued_tokens=8)
    for name in ("a", "b"):
        it.add(request(4, name=name), 0.0)
    with pytest.raises(QueueFull):
        it.add(request(4, name="c"), 0.0)
    it.add(request(4, name="a", output=1), 0.0)
    it.add(request(4, name="a", output=2), 0.0)
    assert len(it.waiting) == 4
    with pytest.raises(QueueFull):
        it.add(request(4, name="c"), 0.0)


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
    sequence = it.add(request(4, 3, sampling={"ignore_eos": True}), 0.0)
    for _ in range(3):
        turn(it, token_id=EOS)
    assert sequence.token_ids[4:] == [EOS] * 3
    assert sequence.reason is EndReason.LENGTH


def test_stop_tokens_end_the_request_also_where_the_end_of_text_is_ignored() -> None:
    it = scheduler()
    sequence = it.add(request(4, sampling={"ignore_eos": True, "stop_token_ids": (9,)}), 0.0)
    turn(it, token_id=EOS)
    turn(it, token_id=9)
    assert sequence.reason is EndReason.STOP
    assert sequence.token_ids[4:] == [EOS]


def test_only_the_request_ends_with_which_a_step_fails_alone() -> None:
    it = scheduler()
    good, bad, other = (it.add(request(4, name=name), 0.0) for name in ("good", "bad", "other"))
    assert it.roll_back(it.plan(0.0), 0.0) == []
    late = it.add(request(4, name="late"), 0.0)
    assert sizes(turn(it)) == [("good", 4)]
    plan = it.plan(0.0)
    assert sizes(plan) == [("bad", 4)]
    assert it.roll_back(plan, 0.0) == [bad]
    assert bad.reason is EndReason.ERROR
    assert sizes(turn(it)) == [("other", 4)]
    assert sizes(turn(it)) == [("good", 1), ("other", 1), ("late", 4)]
    assert [good.n_output, other.n_output, late.n_output] == [2, 2, 1]


def test_cancelling_during_a_step_frees_the_blocks_and_drops_the_token() -> None:
    it = scheduler()
    sequence = it.add(request(4), 0.0)
    plan = it.plan(0.0)
    it.end(sequence, EndReason.CANCELLED, 0.0)
    assert it.pool.n_held == 0
    assert plan.slices[0].block_ids, "the step under way keeps its list"
    assert it.commit(plan, [SliceResult((7,))], 0.0) == []
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


def test_prompt_tokens_that_wait_are_bounded_but_a_large_prompt_may_wait_alone() -> None:
    it = scheduler(max_queued_tokens=100)
    it.add(request(200, name="large"), 0.0)
    with pytest.raises(QueueFull):
        it.add(request(1, name="small"), 0.0)
    while it.waiting:
        turn(it)
    it.add(request(100, name="b"), 0.0)
    with pytest.raises(QueueFull):
        it.add(request(1, name="c"), 0.0)


def test_a_second_request_computes_only_what_is_new_in_its_prompt() -> None:
    it = scheduler(step_tokens=512)
    it.add(request(64 + 7, 2, "first", tenant_id="a"), 0.0)
    turn(it)
    same = it.add(request(64 + 7, 2, "same", tenant_id="a"), 0.0)
    exact = it.add(request(64, 2, "exact", tenant_id="a"), 0.0)
    others = [
        it.add(request(64, 2, "tenant", tenant_id="b"), 0.0),
        it.add(request(64, 2, "adapter", tenant_id="a", adapter="lora"), 0.0),
        it.add(request(64, 2, "scored", tenant_id="a", prompt_top_logprobs=0), 0.0),
    ]
    assert dict(sizes(it.plan(0.0))) == {
        "first": 1,
        "same": 7,
        "exact": 16,  # one token has to be computed, and blocks are found whole
        "tenant": 64,
        "adapter": 64,
        "scored": 64,
    }
    assert (same.cached_tokens, exact.cached_tokens) == (64, 48)
    assert [one.cached_tokens for one in others] == [0, 0, 0]
    assert it.cached_tokens == 64 + 48


def test_a_replaced_adapter_finds_nothing_of_the_old_one() -> None:
    it = scheduler()
    for n_found in (0, 32):
        sequence = it.add(request(33, 1, adapter="lora"), 0.0)
        turn(it)
        assert sequence.cached_tokens == n_found
    it.forget_adapters()
    sequence = it.add(request(33, 1, adapter="lora"), 0.0)
    turn(it)
    assert sequence.cached_tokens == 0


def test_prompt_scores_come_once_and_whole() -> None:
    it = scheduler(step_tokens=8)
    it.add(request(12, 2, prompt_top_logprobs=0), 0.0)
    told = []
    for _ in range(3):
        plan = it.plan(0.0)
        (one,) = plan.slices
        positions = range(one.start + 1, min(one.end, 11) + 1)
        scores = tuple(TokenLogprob(at, -1.0) for at in positions)
        result = SliceResult((7,) * one.n_sampled, (), scores)
        told += [advance.prompt_logprobs for advance in it.commit(plan, [result], 0.0)]
    assert [scores and [one.token_id for one in scores] for scores in told] == [
        list(range(1, 12)),
        None,
    ]


def test_a_waiting_request_rises_by_one_class_in_ten_seconds() -> None:
    it = scheduler(max_running=1)
    it.add(request(4, 1, "first"), 0.0)
    turn(it)
    it.add(request(4, 1, "low", priority=Priority.LOW), 0.0)
    it.add(request(4, 1, "normal"), 6.0)
    it.add(request(4, 1, "high", priority=Priority.HIGH), 14.0)
    assert [sizes(turn(it, now_s=15.0))[0][0] for _ in range(3)] == ["high", "low", "normal"]


def test_a_wrong_guess_is_taken_back_and_a_right_one_saves_a_step() -> None:
    it = scheduler(draft_tokens=4)
    sequence = it.add(request(4, 40, "a"), 0.0)
    for token_id in (8, 9, 8, 9):
        turn(it, token_id)
    plan = it.plan(0.0)
    (one,) = plan.slices
    assert list(one.token_ids) == [9, 8, 9, 8, 9]
    assert (one.n_draft, one.n_sampled) == (4, 5)
    (advance,) = it.commit(plan, [SliceResult((8, 9, 7, 9, 8))], 0.0)
    assert advance.token_ids == (8, 9, 7)
    assert sequence.n_pending == 1
    assert (it.draft_tokens, it.accepted_draft_tokens) == (one.n_draft, 2)


def test_nothing_is_guessed_in_a_large_batch_nor_for_a_grammar() -> None:
    it = scheduler(draft_tokens=4, draft_max_running=1)
    for name in "ab":
        it.add(request(4, 40, name), 0.0)
    for _ in range(8):
        assert all(one.n_draft == 0 for one in turn(it).slices)
    it = scheduler(draft_tokens=4)
    it.add(request(4, 40, grammar=NoGrammar()), 0.0)
    for _ in range(8):
        assert all(one.n_draft == 0 for one in turn(it).slices)
