"""The scheduler under any order of events: blocks, bounds, sharing, order and progress hold.

A model of the KV cache stands in for the runner: each slot remembers which salt and which tokens
up to it were written, so that whatever a step reads can be compared with what it should read.
"""

from contextlib import suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from weir_inference.core.request import EndReason, Priority, Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.scheduler import SHARED_S, Limits, Scheduler
from weir_inference.core.sequence import Sequence, State
from weir_inference.core.step_plan import Advance, Slice, SliceResult, StepPlan
from weir_inference.core.token_logprob import TokenLogprob
from weir_kit.errors import ContextLengthExceeded, QueueFull

EOS, STOP = 2, 3
BLOCK = 4
Salt = tuple[str, str | None]


def limits(prefix_caching: bool, draft_tokens: int) -> Limits:
    return Limits(
        n_blocks=7,
        block_size=BLOCK,
        context_tokens=24,
        max_running=3,
        max_queued=4,
        max_queued_tokens=40,
        step_tokens=6,
        prefix_caching=prefix_caching,
        draft_tokens=draft_tokens,
        draft_max_running=2,
    )


def salt_of(sequence: Sequence) -> Salt:
    return sequence.request.tenant_id, sequence.request.adapter


class SchedulerMachine(RuleBasedStateMachine):
    """Requests come, steps run or fail, callers leave, deadlines pass, in any order."""

    @initialize(
        prefix_caching=st.booleans(),
        draft_tokens=st.one_of(st.just(0), st.integers(1, 4)),
        overlaps=st.booleans(),
    )
    def begin(self, prefix_caching: bool, draft_tokens: int, overlaps: bool) -> None:
        self.limits = limits(prefix_caching, draft_tokens)
        self.scheduler = Scheduler(self.limits, [EOS])
        self.now_s = 0.0
        self.n_added = 0
        self.live: list[Sequence] = []
        self.overlaps = overlaps
        self.in_flight: StepPlan | None = None
        self.follower: StepPlan | None = None
        self.suspects: list[Sequence] = []
        self.slots: dict[tuple[int, int], tuple[Salt, tuple[int, ...]]] = {}
        self.scored: dict[str, int] = {}
        self.tenant_last: str | None = None
        self.shared_until_s = 0.0

    # ---- what can happen -----------------------------------------------------------------------

    @rule(
        n_prompt=st.integers(1, 20),
        n_output=st.integers(1, 20),
        tenant_id=st.sampled_from("abc"),
        adapter=st.sampled_from([None, None, "lora"]),
        priority=st.sampled_from(Priority),
        patience_s=st.one_of(st.none(), st.floats(0.5, 20)),
        ignore_eos=st.booleans(),
        scored=st.booleans(),
        tokens=st.sampled_from([(5,), (5, 6), (5, 6, 6)]),
    )
    def a_request_comes(
        self,
        n_prompt: int,
        n_output: int,
        tenant_id: str,
        adapter: str | None,
        priority: Priority,
        patience_s: float | None,
        ignore_eos: bool,
        scored: bool,
        tokens: tuple[int, ...],
    ) -> None:
        self.n_added += 1
        request = Request(
            f"req_{self.n_added}",
            (tokens * 20)[:n_prompt],
            n_output,
            Sampling(seed=0, ignore_eos=ignore_eos, stop_token_ids=(STOP,)),
            None if patience_s is None else self.now_s + patience_s,
            tenant_id=tenant_id,
            adapter=adapter,
            priority=priority,
            prompt_top_logprobs=0 if scored else None,
        )
        queue = self.scheduler.waiting
        n_waiting, n_tokens = len(queue), queue.n_tokens
        full = n_waiting >= self.limits.max_queued or (
            n_waiting > 0 and n_tokens + n_prompt > self.limits.max_queued_tokens
        )
        try:
            self.add(request)
        except ContextLengthExceeded:
            assert n_prompt + n_output > self.limits.context_tokens
        except QueueFull as error:
            assert full
            assert error.retry_after_s is not None
            assert error.retry_after_s >= 1
        else:
            assert n_prompt + n_output <= self.limits.context_tokens
            assert not full

    @precondition(lambda self: self.in_flight is None)
    @rule()
    def a_step_is_planned(self) -> None:
        self.scheduler.expire(self.now_s)
        plan = self.plan()
        if plan.slices:
            self.in_flight = plan

    @precondition(lambda self: self.in_flight is not None and self.follower is None)
    @rule()
    def a_step_starts_that_follows(self) -> None:
        assert self.in_flight is not None
        self.scheduler.expire(self.now_s)
        self.follower = self.plan_after(self.in_flight)

    @precondition(lambda self: self.in_flight is not None)
    @rule(data=st.data(), misled=st.booleans())
    def the_step_is_committed(self, data: st.DataObject, misled: bool) -> None:
        assert self.in_flight is not None
        plan, follower, self.follower = self.in_flight, self.follower, None
        self.in_flight = None if misled else follower
        tokens = st.sampled_from([5, 5, 5, 6, 6, EOS, STOP])
        self.commit(plan, [data.draw(tokens) for _ in range(sum(s.n_sampled for s in plan.slices))])

    @precondition(lambda self: self.in_flight is None)
    @rule(n_steps=st.integers(2, 12))
    def many_steps_run(self, n_steps: int) -> None:
        """Sequences grow until memory runs short: the way to preemption."""
        for _ in range(n_steps):
            self.turn()
            self.every_block_is_free_or_held_and_counted()

    @precondition(lambda self: self.in_flight is not None)
    @rule(n_written=st.integers(0, 3))
    def the_step_fails(self, n_written: int) -> None:
        """Some slices may have been computed. Nobody ends who was not alone."""
        assert self.in_flight is not None
        plan, self.in_flight, self.follower = self.in_flight, None, None
        self.compute(plan.slices[:n_written])
        known = {one.sequence: list(one.sequence.token_ids) for one in plan.slices}
        running = [s for s in known if s.state is State.RUNNING]
        failed = self.scheduler.roll_back(plan, self.now_s)
        if len(plan.slices) == 1:
            assert failed == running
            assert all(one.reason is EndReason.ERROR for one in failed)
        else:
            assert failed == []
            self.suspects = running
        assert all(s.token_ids == tokens for s, tokens in known.items())

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def a_caller_leaves(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(self.live))
        self.scheduler.end(sequence, EndReason.CANCELLED, self.now_s)
        assert sequence.state is State.ENDED
        assert sequence.block_ids == []

    @rule(seconds=st.floats(0.1, 15))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @precondition(lambda self: self.in_flight is None and self.live)
    @rule(data=st.data(), flood=st.booleans())
    def nobody_starves_while_others_keep_coming(self, data: st.DataObject, flood: bool) -> None:
        sequence = data.draw(st.sampled_from(self.live))
        for i in range(1500):
            if sequence.state is State.ENDED:
                return
            self.n_added += 1
            tenant_id = "flood" if flood else f"tenant_{i}"
            newcomer = Request(
                f"req_{self.n_added}", (5, 6), 3, Sampling(seed=0), None, tenant_id=tenant_id
            )
            with suppress(QueueFull):  # of requests, or of tokens
                self.add(newcomer)
            self.turn()
            self.now_s += 0.1
        raise AssertionError("it starved")

    def add(self, request: Request) -> None:
        self.live.append(self.scheduler.add(request, self.now_s))
        if self.tenant_last not in (None, request.tenant_id):
            self.shared_until_s = self.now_s + SHARED_S
        self.tenant_last = request.tenant_id

    # ---- a step --------------------------------------------------------------------------------

    def plan(self) -> StepPlan:
        scheduler = self.scheduler
        had_work = bool(scheduler.running or scheduler.waiting)
        self.suspects = [one for one in self.suspects if one.state is not State.ENDED]
        oldest = min(scheduler.running, key=lambda one: one.number, default=None)
        decoding = [one for one in scheduler.running if one.n_pending == 1]
        plan = scheduler.plan(self.now_s)
        planned = [one.sequence for one in plan.slices]
        assert bool(planned) == had_work
        assert len(set(planned)) == len(planned)
        assert sum(len(one.token_ids) for one in plan.slices) <= self.limits.step_tokens
        if self.suspects:
            assert planned == self.suspects[:1], "suspects are computed alone"
        else:
            if oldest is not None:  # one that was preempted before may have come back, and is older
                oldest = min((oldest, *scheduler.running), key=lambda one: one.number)
                assert oldest in planned, "the oldest always moves on"
            decoding = [one for one in decoding if one.state is State.RUNNING]
            assert all(one in planned for one in decoding)
            served = {one.request.tenant_id for one in decoding}
            beside = [one for one in plan.slices if one.request.tenant_id in served]
            beside = [one for one in beside if one.sequence not in decoding]
            n_beside = sum(len(one.token_ids) - one.n_draft for one in beside)
            if self.now_s < self.shared_until_s:
                assert n_beside <= self.limits.chunk_tokens, "nobody who decodes waits for long"
        for one in plan.slices:
            self.check_slice(one)
        return plan

    def plan_after(self, plan: StepPlan) -> StepPlan | None:
        held = {one: list(one.block_ids) for one in self.scheduler.running}
        follower = self.scheduler.plan_after(plan)
        if follower is None:
            return None
        assert follower.follows
        assert not (plan.follows and self.scheduler.waiting), "a place is sought every other step"
        going_on = [one.sequence for one in follower.slices]
        left = [one for one in self.scheduler.running if one not in going_on]
        assert all(one.n_output + 1 == one.request.max_output_tokens for one in left)
        for one in follower.slices:
            assert one.follows is not None
            before = plan.slices[one.follows]
            assert one.sequence is before.sequence
            assert one.sequence.state is State.RUNNING
            assert one.start == before.end == len(one.sequence.token_ids)
            assert one.n_output == before.n_output + 1 < one.request.max_output_tokens
            assert (one.samples, one.n_draft) == (True, 0)
            assert one.end <= len(one.block_ids) * BLOCK
            assert one.block_ids[: len(held[one.sequence])] == held[one.sequence]
        return follower

    def check_slice(self, one: Slice) -> None:
        sequence, n_known = one.sequence, one.end - one.n_draft
        assert one.start == sequence.n_computed
        assert list(one.token_ids[: n_known - one.start]) == sequence.token_ids[one.start : n_known]
        assert one.samples == (n_known == len(sequence.token_ids))
        assert one.end <= len(one.block_ids) * BLOCK
        assert one.n_draft <= self.limits.draft_tokens
        assert not one.n_draft or one.samples
        assert one.n_output + one.n_sampled <= one.request.max_output_tokens
        assert one.end <= self.limits.context_tokens

    def compute(self, slices: tuple[Slice, ...]) -> None:
        """Read what comes before each slice, and write it, as the runner does."""
        for one in slices:
            salt = salt_of(one.sequence)
            tokens = [*one.sequence.token_ids[: one.start], *one.token_ids]
            if one.follows is not None and one.sequence.state is State.RUNNING:
                tokens = one.sequence.token_ids[: one.end]
            for at in range(one.end):
                block_id = one.block_ids[at // BLOCK]
                content = (salt, tuple(tokens[: at + 1]))
                if at < one.start:
                    assert self.slots[block_id, at % BLOCK] == content, "what is read is right"
                else:
                    assert self.scheduler.pool.digest(block_id) is None
                    assert self.scheduler.pool.holders(block_id) <= 1, (
                        "nobody writes what is shared"
                    )
                    self.slots[block_id, at % BLOCK] = content

    def commit(self, plan: StepPlan, sampled: list[int]) -> list[Advance]:
        self.compute(plan.slices)
        results, at = [], 0
        for one in plan.slices:
            n_scored = max(0, min(one.end, one.sequence.n_prompt - 1) - one.start)
            scores = tuple(TokenLogprob(one.start + 1 + i, -1.0) for i in range(n_scored))
            results.append(SliceResult(tuple(sampled[at : at + one.n_sampled]), (), scores))
            at += one.n_sampled
        ended = {one for one in self.live if one.state is State.ENDED}
        before = {one.sequence: list(one.sequence.token_ids) for one in plan.slices}
        advances = self.scheduler.commit(plan, results, self.now_s)
        for advance in advances:
            sequence = advance.sequence
            assert sequence not in ended, "nothing comes after the end"
            assert (advance.reason is not None) == (sequence.state is State.ENDED)
            assert before[sequence] + list(advance.token_ids) == sequence.token_ids
            assert not set(advance.token_ids) & sequence.stop_token_ids
            if advance.prompt_logprobs is not None:
                self.check_scores(advance)
        if self.suspects and plan.slices[0].sequence is self.suspects[0]:
            self.suspects.pop(0)
        return advances

    def check_scores(self, advance: Advance) -> None:
        request = advance.sequence.request
        assert request.prompt_top_logprobs is not None
        assert advance.prompt_logprobs is not None
        positions = [one.token_id for one in advance.prompt_logprobs]
        assert positions == list(range(1, len(request.prompt_token_ids))), "each once, in order"
        assert request.request_id not in self.scored
        self.scored[request.request_id] = len(positions)

    def turn(self) -> None:
        plan: StepPlan | None = self.plan()
        while plan is not None and plan.slices:
            follower = self.plan_after(plan) if self.overlaps else None
            self.commit(plan, [5] * sum(one.n_sampled for one in plan.slices))
            plan = follower
        self.live = [one for one in self.live if one.state is not State.ENDED]

    # ---- what always holds ---------------------------------------------------------------------

    @invariant()
    def every_block_is_free_or_held_and_counted(self) -> None:
        pool = self.scheduler.pool
        n_holders = [0] * pool.n_blocks
        for sequence in self.live:
            for block_id in sequence.block_ids:
                n_holders[block_id] += 1
        assert [pool.holders(i) for i in range(pool.n_blocks)] == n_holders
        assert pool.n_held == sum(n > 0 for n in n_holders), "no block leaks"
        assert pool.n_free + pool.n_held == pool.n_blocks
        assert pool.n_cached <= pool.n_free

    @invariant()
    def a_block_is_shared_only_for_the_same_full_prefix_of_the_same_salt(self) -> None:
        holders: dict[int, set[tuple[Salt, int, tuple[int, ...]]]] = {}
        for sequence in self.live:
            for i, block_id in enumerate(sequence.block_ids):
                end = (i + 1) * BLOCK
                prefix = tuple(sequence.token_ids[:end])
                holders.setdefault(block_id, set()).add((salt_of(sequence), i, prefix))
                if self.scheduler.pool.holders(block_id) > 1:
                    assert end <= sequence.n_computed
                    assert self.limits.prefix_caching
        assert all(len(contents) == 1 for contents in holders.values())

    @invariant()
    def what_is_computed_is_in_the_cache(self) -> None:
        for sequence in self.scheduler.running:
            for at in range(sequence.n_computed):
                slot = self.slots[sequence.block_ids[at // BLOCK], at % BLOCK]
                assert slot == (salt_of(sequence), tuple(sequence.token_ids[: at + 1]))

    @invariant()
    def only_running_sequences_hold_blocks_and_enough_of_them(self) -> None:
        for sequence in self.live:
            if sequence.state is State.RUNNING:
                assert sequence.n_computed <= len(sequence.block_ids) * BLOCK
                assert sequence.n_pending >= 1
            else:
                assert sequence.block_ids == []

    @invariant()
    def bounds_are_kept(self) -> None:
        scheduler = self.scheduler
        assert len(scheduler.running) <= self.limits.max_running
        assert len(scheduler.waiting) <= self.limits.max_queued + self.limits.max_running
        waiting = list(scheduler.waiting)
        assert len(waiting) == len(scheduler.waiting)
        assert scheduler.waiting.n_tokens == sum(one.n_prompt for one in waiting)
        live = {one for one in self.live if one.state is not State.ENDED}
        assert {*waiting, *scheduler.running} == live

    def teardown(self) -> None:
        """Every admitted request ends, within a bounded number of steps."""
        if not hasattr(self, "scheduler"):
            return
        if self.in_flight is not None:
            self.the_step_fails(n_written=0)
        for _ in range(2000):
            if not (self.scheduler.running or self.scheduler.waiting):
                break
            self.turn()
        assert not (self.scheduler.running or self.scheduler.waiting), "somebody starved"
        assert self.scheduler.pool.n_held == 0


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
