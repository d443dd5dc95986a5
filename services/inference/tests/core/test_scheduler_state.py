"""The scheduler under any order of events: blocks, bounds, order and progress always hold."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from weir_inference.core.request import EndReason, Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.scheduler import Limits, Scheduler
from weir_inference.core.sequence import Sequence, State
from weir_inference.core.step_plan import StepPlan
from weir_kit.errors import ContextLengthExceeded, QueueFull

EOS = 2
LIMITS = Limits(
    n_blocks=7, block_size=4, context_tokens=24, max_running=3, max_queued=4, step_tokens=6
)


class SchedulerMachine(RuleBasedStateMachine):
    """Requests come, steps run or fail, callers leave, deadlines pass, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(LIMITS, [EOS])
        self.now_s = 0.0
        self.sequences: list[Sequence] = []
        self.in_flight: StepPlan | None = None

    @rule(
        n_prompt=st.integers(1, 20),
        n_output=st.integers(1, 20),
        patience_s=st.one_of(st.none(), st.floats(0.5, 20)),
        ignore_eos=st.booleans(),
    )
    def a_request_comes(
        self, n_prompt: int, n_output: int, patience_s: float | None, ignore_eos: bool
    ) -> None:
        request = Request(
            f"req_{len(self.sequences)}",
            tuple(range(3, 3 + n_prompt)),
            n_output,
            Sampling(seed=0, ignore_eos=ignore_eos),
            None if patience_s is None else self.now_s + patience_s,
        )
        n_waiting = len(self.scheduler.waiting)
        try:
            self.sequences.append(self.scheduler.add(request, self.now_s))
        except ContextLengthExceeded:
            assert n_prompt + n_output > LIMITS.context_tokens
        except QueueFull as error:
            assert n_waiting >= LIMITS.max_queued
            assert error.retry_after_s is not None
            assert error.retry_after_s >= 1
        else:
            assert n_prompt + n_output <= LIMITS.context_tokens
            assert n_waiting < LIMITS.max_queued

    @precondition(lambda self: self.in_flight is None)
    @rule()
    def a_step_is_planned(self) -> None:
        self.scheduler.expire(self.now_s)
        had_work = bool(self.scheduler.running or self.scheduler.waiting)
        oldest = (*self.scheduler.running, *self.scheduler.waiting)[:1]
        plan = self.scheduler.plan(self.now_s)
        assert bool(plan.slices) == had_work
        assert sum(len(one.token_ids) for one in plan.slices) <= LIMITS.step_tokens
        assert tuple(one.sequence for one in plan.slices)[:1] == oldest, "the oldest always moves"
        for one in plan.slices:
            assert one.start == one.sequence.n_computed
            assert list(one.token_ids) == one.sequence.token_ids[one.start : one.end]
            assert one.samples == (one.end == len(one.sequence.token_ids))
            assert one.end <= len(one.block_ids) * LIMITS.block_size
        assert len({id(one.sequence) for one in plan.slices}) == len(plan.slices)
        if plan.slices:
            self.in_flight = plan

    @precondition(lambda self: self.in_flight is not None)
    @rule(data=st.data())
    def the_step_is_committed(self, data: st.DataObject) -> None:
        assert self.in_flight is not None
        plan, self.in_flight = self.in_flight, None
        n = sum(one.samples for one in plan.slices)
        sampled = data.draw(st.lists(st.sampled_from([EOS, 5, 6]), min_size=n, max_size=n))
        ended_before = {id(s) for s in self.sequences if s.state is State.ENDED}
        for advance in self.scheduler.commit(plan, sampled, self.now_s):
            assert id(advance.sequence) not in ended_before, "nothing comes after the end"
            assert (advance.reason is not None) == (advance.sequence.state is State.ENDED)

    @precondition(lambda self: self.in_flight is None)
    @rule(n_steps=st.integers(2, 12))
    def many_steps_run(self, n_steps: int) -> None:
        """Sequences grow until memory runs short: the way to preemption."""
        for _ in range(n_steps):
            plan = self.scheduler.plan(self.now_s)
            self.scheduler.commit(plan, [5] * sum(one.samples for one in plan.slices), self.now_s)
            self.running_then_waiting_is_the_order_of_arrival()
            self.every_block_is_free_or_held_once()

    @precondition(lambda self: self.in_flight is not None)
    @rule()
    def the_step_fails(self) -> None:
        assert self.in_flight is not None
        plan, self.in_flight = self.in_flight, None
        self.scheduler.fail(plan, self.now_s)
        assert all(one.sequence.state is State.ENDED for one in plan.slices)

    @precondition(lambda self: self.sequences)
    @rule(data=st.data())
    def a_caller_leaves(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(self.sequences))
        self.scheduler.end(sequence, EndReason.CANCELLED, self.now_s)
        assert sequence.state is State.ENDED
        assert sequence.block_ids == []

    @rule(seconds=st.floats(0.1, 5))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @invariant()
    def every_block_is_free_or_held_once(self) -> None:
        held = [block for s in self.sequences for block in s.block_ids]
        assert len(held) == len(set(held)), "no block is shared"
        assert len(held) == self.scheduler.pool.n_held, "no block leaks"
        assert self.scheduler.pool.n_free + len(held) == LIMITS.n_blocks

    @invariant()
    def only_running_sequences_hold_blocks_and_enough_of_them(self) -> None:
        for sequence in self.sequences:
            if sequence.state is State.RUNNING:
                assert sequence.n_computed <= len(sequence.block_ids) * LIMITS.block_size
                assert sequence.n_pending >= 1
            else:
                assert sequence.block_ids == []

    @invariant()
    def bounds_are_kept(self) -> None:
        assert len(self.scheduler.running) <= LIMITS.max_running
        assert len(self.scheduler.waiting) <= LIMITS.max_queued + LIMITS.max_running

    @invariant()
    def running_then_waiting_is_the_order_of_arrival(self) -> None:
        live = [s for s in self.sequences if s.state is not State.ENDED]
        assert [*self.scheduler.running, *self.scheduler.waiting] == live

    def teardown(self) -> None:
        """Every admitted request ends, within a bounded number of steps."""
        if self.in_flight is not None:
            self.scheduler.fail(self.in_flight, self.now_s)
        for _ in range(2000):
            plan = self.scheduler.plan(self.now_s)
            if not plan.slices:
                break
            self.scheduler.commit(plan, [5] * sum(one.samples for one in plan.slices), self.now_s)
        assert all(s.state is State.ENDED for s in self.sequences), "somebody starved"
        assert self.scheduler.pool.n_held == 0


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
