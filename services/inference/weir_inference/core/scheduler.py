"""Which tokens the next step computes: continuous batching over paged KV memory.

The rule is vLLM V1's: a step brings every sequence's computed tokens nearer to its known tokens,
within a budget of tokens per step. Chunked prefill, decoding and recomputing after preemption are
all this one rule.

Order is first come, first served, kept by one invariant: `running` then `waiting` is the order of
arrival. Memory is taken from the youngest running sequence, never from an older one, so the oldest
always moves on, and by induction every sequence ends.
"""

from collections import deque
from collections.abc import Collection
from collections.abc import Sequence as ReadOnlyList
from dataclasses import dataclass

from weir_inference.core.block_pool import BlockPool
from weir_inference.core.request import EndReason, Request
from weir_inference.core.sequence import Sequence, State
from weir_inference.core.step_plan import Advance, Slice, StepPlan
from weir_kit.errors import ContextLengthExceeded, QueueFull

RETRY_AFTER_MIN_S = 1.0
RETRY_AFTER_MAX_S = 30.0
ENDS_REMEMBERED = 32


@dataclass(frozen=True)
class Limits:
    """The scheduler's bounds.

    `context_tokens` is what one request may hold, prompt and output together.
    """

    n_blocks: int
    block_size: int
    context_tokens: int
    max_running: int
    max_queued: int
    step_tokens: int

    def __post_init__(self) -> None:
        assert min(self.block_size, self.max_running, self.max_queued, self.step_tokens) > 0
        assert 0 < self.context_tokens <= self.n_blocks * self.block_size, "one request fits alone"


class Scheduler:
    """Plan → (the runner runs) → commit | fail. Not thread-safe; knows no tensors."""

    def __init__(self, limits: Limits, eos_token_ids: Collection[int]) -> None:
        self.limits = limits
        self.pool = BlockPool(limits.n_blocks)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self._eos_token_ids = frozenset(eos_token_ids)
        self._ends_s: deque[float] = deque(maxlen=ENDS_REMEMBERED)

    def add(self, request: Request, now_s: float) -> Sequence:
        """Queue a request; `ContextLengthExceeded` if it can never fit, `QueueFull` if not now."""
        n_prompt, limit = len(request.prompt_token_ids), self.limits.context_tokens
        assert n_prompt > 0
        assert request.max_output_tokens > 0
        if n_prompt + request.max_output_tokens > limit:
            raise ContextLengthExceeded(
                f"the prompt's {n_prompt} tokens and {request.max_output_tokens} max_output_tokens "
                f"exceed the {limit} tokens that this model serves",
                field="max_output_tokens" if n_prompt < limit else "prompt_token_ids",
            )
        if len(self.waiting) >= self.limits.max_queued:
            raise QueueFull(
                f"{len(self.waiting)} requests are waiting already",
                retry_after_s=self._retry_after_s(now_s),
            )
        sequence = Sequence(request, now_s)
        self.waiting.append(sequence)
        return sequence

    def plan(self, now_s: float) -> StepPlan:
        """The next step, its blocks allocated. Empty only when there is nothing to do."""
        budget = self.limits.step_tokens
        slices: list[Slice] = []
        while len(slices) < len(self.running) and budget > 0:
            sequence = self.running[len(slices)]
            if not self._make_room(sequence):
                break
            slices.append(_slice(sequence, budget))
            budget -= len(slices[-1].token_ids)
        started = []
        while budget > 0 and self._next_fits():
            sequence = self.waiting.popleft()
            sequence.state = State.RUNNING
            sequence.block_ids = self.pool.allocate(self._blocks_lacking(sequence))
            self.running.append(sequence)
            slices.append(_slice(sequence, budget))
            budget -= len(slices[-1].token_ids)
            if sequence.started_at_s is None:  # not when it comes back after preemption
                sequence.started_at_s = now_s
                started.append(sequence)
        assert slices or not (self.running or self.waiting), "work was left and none was planned"
        return StepPlan(tuple(slices), tuple(started))

    def commit(self, plan: StepPlan, sampled: ReadOnlyList[int], now_s: float) -> list[Advance]:
        """Take in a step that ran. `sampled`: one token per slice that samples, in their order."""
        advances = []
        tokens = iter(sampled)
        for one in plan.slices:
            token_id = next(tokens) if one.samples else None
            sequence = one.sequence
            if sequence.state is not State.RUNNING:
                continue  # cancelled while the step ran: its blocks are free already
            sequence.n_computed += len(one.token_ids)
            if token_id is not None:
                advances.append(self._append(sequence, token_id, now_s))
        return advances

    def fail(self, plan: StepPlan, now_s: float) -> list[Sequence]:
        """Roll back a step that did not run: its sequences end, all others live on."""
        failed = [one.sequence for one in plan.slices if one.sequence.state is State.RUNNING]
        for sequence in failed:
            self.end(sequence, EndReason.ERROR, now_s)
        return failed

    def expire(self, now_s: float) -> list[Sequence]:
        """End every sequence whose deadline has passed."""
        late = [
            sequence
            for sequence in (*self.running, *self.waiting)
            if sequence.request.deadline_s is not None and sequence.request.deadline_s <= now_s
        ]
        for sequence in late:
            self.end(sequence, EndReason.DEADLINE, now_s)
        return late

    def end(self, sequence: Sequence, reason: EndReason, now_s: float) -> None:
        """End a sequence, also while a step runs, and free its blocks. Ending twice does nothing.

        Blocks are free at once: they can be given out at the next plan at the earliest, and steps
        run in the order of their plans, so a late write of this sequence is overwritten, never
        read.
        """
        if sequence.state is State.ENDED:
            return
        (self.running if sequence.state is State.RUNNING else self.waiting).remove(sequence)
        self._give_back(sequence)
        sequence.state = State.ENDED
        sequence.reason = reason
        sequence.ended_at_s = now_s
        self._ends_s.append(now_s)

    def _append(self, sequence: Sequence, token_id: int, now_s: float) -> Advance:
        if token_id in self._eos_token_ids and not sequence.request.sampling.ignore_eos:
            self.end(sequence, EndReason.STOP, now_s)
            return Advance(sequence, None, EndReason.STOP)
        sequence.token_ids.append(token_id)
        if sequence.first_token_at_s is None:
            sequence.first_token_at_s = now_s
        if sequence.n_output == sequence.request.max_output_tokens:
            self.end(sequence, EndReason.LENGTH, now_s)
        return Advance(sequence, token_id, sequence.reason)

    def _make_room(self, sequence: Sequence) -> bool:
        """Blocks for all that it knows, taken from younger ones; False if itself had to go."""
        lacking = self._blocks_lacking(sequence)
        while lacking > self.pool.n_free:
            youngest = self.running.pop()
            self._preempt(youngest)
            if youngest is sequence:
                return False
        sequence.block_ids.extend(self.pool.allocate(lacking))
        return True

    def _preempt(self, sequence: Sequence) -> None:
        """Back to the head of the queue; its tokens stay known and are computed again."""
        self._give_back(sequence)
        sequence.n_computed = 0
        sequence.state = State.WAITING
        self.waiting.appendleft(sequence)

    def _next_fits(self) -> bool:
        """Whether the head of the queue can run now. Nobody overtakes it: so nobody starves.

        A block is left for each running sequence, or the newcomer would be preempted at once.
        """
        if not self.waiting or len(self.running) >= self.limits.max_running:
            return False
        return self._blocks_lacking(self.waiting[0]) + len(self.running) <= self.pool.n_free

    def _blocks_lacking(self, sequence: Sequence) -> int:
        n_wanted = -(-len(sequence.token_ids) // self.limits.block_size)
        return n_wanted - len(sequence.block_ids)

    def _give_back(self, sequence: Sequence) -> None:
        self.pool.free(sequence.block_ids)
        sequence.block_ids = []

    def _retry_after_s(self, now_s: float) -> float:
        """The mean time between the latest ends: when a place in the queue should be free."""
        if not self._ends_s:
            return RETRY_AFTER_MIN_S
        interval_s = (now_s - self._ends_s[0]) / len(self._ends_s)
        return min(max(interval_s, RETRY_AFTER_MIN_S), RETRY_AFTER_MAX_S)


def _slice(sequence: Sequence, budget_tokens: int) -> Slice:
    start = sequence.n_computed
    token_ids = sequence.token_ids[start : start + budget_tokens]
    return Slice(
        sequence=sequence,
        start=start,
        token_ids=token_ids,
        block_ids=sequence.block_ids,
        samples=start + len(token_ids) == len(sequence.token_ids),
        n_output=sequence.n_output,
    )
