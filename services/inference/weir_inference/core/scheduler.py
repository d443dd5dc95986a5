"""Which tokens the next step computes: continuous batching over paged KV memory.

The rule is vLLM V1's: a step brings every sequence's computed tokens nearer to its known tokens,
within a budget of tokens per step. Chunked prefill, decoding, prefix hits, recomputing after
preemption and speculation are all this one rule.

A step's budget goes, in this order, to one token for each sequence that decodes, so that nobody's
prompt delays them; to prompts, of the tenant first that was served least; to guesses at what comes
next. Where several tenants ask, prompts of those that decode get a part of it only (`StepBudget`).
Tenants are kept apart by `FairQueue` (whose turn it is) and `who_gives_way` (who has to make room
for a tenant without its share).

Every sequence ends, because the oldest running one always moves on and never loses its place: both
kinds of preemption spare it. And every sequence becomes the oldest: while the one whose turn it is
does not fit, nobody overtakes it into free memory, and its turn comes, since newcomers line up
behind (`FairQueue`).
"""

from collections import deque
from collections.abc import Collection
from collections.abc import Sequence as ReadOnlyList

from weir_inference.core.acceptance import accept_scores, accept_tokens
from weir_inference.core.fair_queue import INPUT_WEIGHT, OUTPUT_WEIGHT, FairQueue
from weir_inference.core.fair_share import holdings_of, who_gives_way
from weir_inference.core.kv_memory import KVMemory
from weir_inference.core.limits import Limits
from weir_inference.core.plan_after import plan_after
from weir_inference.core.prefix_chain import PrefixChain
from weir_inference.core.request import EndReason, Request
from weir_inference.core.retry_after import RetryAfter
from weir_inference.core.sequence import Sequence, State
from weir_inference.core.step_budget import StepBudget
from weir_inference.core.step_plan import Advance, Slice, SliceResult, StepPlan
from weir_kit.errors import ContextLengthExceeded, QueueFull

__all__ = ["Limits", "Scheduler"]

SHARED_S = 60.0  # after requests of two tenants came one after the other, the engine is shared


class Scheduler:
    """Plan → (the runner runs) → commit | roll back. Not thread-safe; knows no tensors."""

    def __init__(self, limits: Limits, eos_token_ids: Collection[int]) -> None:
        self.limits = limits
        self.memory = KVMemory(limits)
        self.pool = self.memory.pool
        self.waiting = FairQueue()
        self.running: list[Sequence] = []
        self.preemptions = self.cached_tokens = 0
        self.draft_tokens = self.accepted_draft_tokens = 0
        self.queue_s = 0.0
        self._eos_token_ids = frozenset(eos_token_ids)
        self._retry_after = RetryAfter()
        self._n_added = self._adapters_generation = 0
        self._suspects: deque[Sequence] = deque()
        self._next_deadline_s = float("inf")
        self._tenant_last: str | None = None
        self._shared_until_s = float("-inf")

    def add(self, request: Request, now_s: float) -> Sequence:
        """Queue a request; `ContextLengthExceeded` if it can never fit, `QueueFull` if not now.

        The queue's bound is for calls: those of a call's outputs that follow its first are let in
        with it, or the call would be turned away after its first tokens. While the queue is above
        its bound no call comes in, so it never holds more than all outputs of as many calls.
        """
        n_prompt, limit = len(request.prompt_token_ids), self.limits.context_tokens
        assert n_prompt > 0
        assert request.max_output_tokens > 0
        if n_prompt + request.max_output_tokens > limit:
            raise ContextLengthExceeded(
                f"the prompt's {n_prompt} tokens and {request.max_output_tokens} max_output_tokens "
                f"exceed the {limit} tokens that this model serves",
                field="max_output_tokens" if n_prompt < limit else "prompt_token_ids",
            )
        if request.output == 0 and not self._has_room(n_prompt):
            raise QueueFull(
                f"{len(self.waiting)} requests of {self.waiting.n_tokens} tokens wait already",
                retry_after_s=self._retry_after.seconds(now_s),
            )
        stop = frozenset(request.sampling.stop_token_ids)
        if not request.sampling.ignore_eos:
            stop |= self._eos_token_ids
        self._n_added += 1
        if request.tenant_id != self._tenant_last:
            if self._tenant_last is not None:
                self._shared_until_s = now_s + SHARED_S
            self._tenant_last = request.tenant_id
        salt = (request.tenant_id, request.adapter, self._adapters_generation)
        chain = PrefixChain(salt if request.adapter else salt[:1], self.limits.block_size)
        sequence = Sequence(request, now_s, self._n_added, stop, chain)
        self.waiting.add(sequence)
        if request.deadline_s is not None:
            self._next_deadline_s = min(self._next_deadline_s, request.deadline_s)
        return sequence

    def plan(self, now_s: float) -> StepPlan:
        """The next step, its blocks reserved. Empty only when there is nothing to do."""
        suspect = self._next_suspect()
        if suspect is not None:
            n_tokens = min(suspect.n_pending, self.limits.step_tokens)
            return StepPlan((self._slice(suspect, n_tokens, []),))
        for sequence in tuple(self.running):
            if sequence.state is State.RUNNING and self.memory.n_unused(sequence) < 0:
                self._make_room(sequence)
        budget, started = self._share_out(now_s)
        n_left, slices = budget.n_left, []
        for sequence, n_tokens in budget.given.items():
            draft: list[int] = []
            if self.limits.draft_tokens and n_tokens == sequence.n_pending:
                draft = self._draft(sequence, n_left)
                n_left -= len(draft)
            slices.append(self._slice(sequence, n_tokens, draft))
        assert slices or not (self.running or self.waiting), "work was left and none was planned"
        return StepPlan(tuple(slices), tuple(started))

    def plan_after(self, plan: StepPlan) -> StepPlan | None:
        """A step that may start before `plan`, which is under way, is over; None if none may.

        What waits for a place is planned for at every other step at least. See `plan_after`.
        """
        if self._suspects or (plan.follows and self.waiting):
            return None
        return plan_after(plan, self.running, self.memory, self.limits)

    def commit(
        self, plan: StepPlan, results: ReadOnlyList[SliceResult], now_s: float
    ) -> list[Advance]:
        """Take in a step that ran: a result for each slice, in order."""
        advances = []
        for one, result in zip(plan.slices, results, strict=True):
            sequence = one.sequence
            if sequence.state is not State.RUNNING:
                continue  # cancelled while the step ran: its blocks are free already
            n_before, reason = len(sequence.token_ids), None
            if one.samples:
                reason = accept_tokens(one, result)
            else:
                sequence.n_computed = one.end
            n_new = len(sequence.token_ids) - n_before
            if n_new:
                self._count(one, n_new, now_s)
            self.memory.register(sequence)
            scores = accept_scores(sequence, result)
            if reason is not None:
                self.end(sequence, reason, now_s)
            if n_new or reason is not None or scores is not None:
                token_ids = tuple(result.token_ids[:n_new])
                logprobs = result.logprobs[:n_new]
                advances.append(Advance(sequence, token_ids, logprobs, scores, reason))
        if self._suspects and plan.slices[0].sequence is self._suspects[0]:
            self._suspects.popleft()
        return advances

    def roll_back(self, plan: StepPlan, now_s: float) -> list[Sequence]:
        """A step did not run. A sequence that was alone in it ends, and is returned.

        Of several, nobody knows which was at fault: each is computed alone next, before all other
        work, until it has committed once. What the step has written is after `n_computed`, so it is
        written again before it is read.
        """
        live = [one.sequence for one in plan.slices if one.sequence.state is State.RUNNING]
        if len(plan.slices) > 1:
            self._suspects = deque(live)
            return []
        for sequence in live:
            self.end(sequence, EndReason.ERROR, now_s)
        return live

    def expire(self, now_s: float) -> list[Sequence]:
        """End every sequence whose deadline has passed."""
        if now_s < self._next_deadline_s:
            return []
        late, self._next_deadline_s = [], float("inf")
        for sequence in (*self.running, *self.waiting):
            deadline_s = sequence.request.deadline_s
            if deadline_s is None:
                continue
            if deadline_s <= now_s:
                late.append(sequence)
            else:
                self._next_deadline_s = min(self._next_deadline_s, deadline_s)
        for sequence in late:
            self.end(sequence, EndReason.DEADLINE, now_s)
        return late

    def end(self, sequence: Sequence, reason: EndReason, now_s: float) -> None:
        """End a sequence, also while a step runs, and free its blocks. Ending twice does nothing.

        Blocks are free at once. The step under way may still write into them, but only at positions
        from its slice's start, and a block that can be found by its prefix lies wholly before: so
        a late write never touches what others share. Blank blocks are given out at the next plan
        at the earliest, and steps run in the order of their plans, so a late write there is
        overwritten, never read.
        """
        if sequence.state is State.ENDED:
            return
        running = sequence.state is State.RUNNING
        sequence.end(reason, now_s)
        self._retry_after.ended(now_s)
        if running:
            self.running.remove(sequence)
            self._charge_prompt(sequence, sequence.n_computed)
            self.memory.give_back(sequence)
        self.waiting.forget(sequence, running)

    def forget_adapters(self) -> None:
        """Let no request find what earlier ones computed with an adapter: one was replaced."""
        self._adapters_generation += 1

    def _has_room(self, n_prompt: int) -> bool:
        """Whether the queue takes another call, with so many tokens."""
        if len(self.waiting) >= self.limits.max_queued:
            return False
        n_tokens = self.waiting.n_tokens + n_prompt
        return not self.waiting or n_tokens <= self.limits.max_queued_tokens

    def _next_suspect(self) -> Sequence | None:
        while self._suspects and self._suspects[0].state is not State.RUNNING:
            self._suspects.popleft()
        return self._suspects[0] if self._suspects else None

    def _share_out(self, now_s: float) -> tuple[StepBudget, list[Sequence]]:
        """Who gets how many tokens of the step, and who starts with it."""
        decoding = [one for one in self.running if one.n_pending == 1]
        shared = now_s < self._shared_until_s
        n_beside = self.limits.chunk_tokens if shared else self.limits.step_tokens
        budget = StepBudget(self.limits.step_tokens, n_beside, decoding)
        prefilling = [one for one in self.running if one.n_pending > 1]
        if prefilling:  # the oldest moves on, whoever's turn it is
            budget.give(min(self.running, key=_number), self.limits.block_size)
        started: list[Sequence] = []
        sequence: Sequence | None
        admitting = True
        while budget.n_left > 0:
            # With nothing left for tenants that decode, only who runs nothing is let in.
            head = self.waiting.head(now_s, budget.n_beside <= 0) if admitting else None
            able = (one for one in prefilling if budget.left_for(one) > 0)
            sequence = min(able, key=self._turn, default=None)
            if head is not None and (sequence is None or self._turn(head) < self._turn(sequence)):
                sequence = self._let_in(head, now_s, budget)
                admitting = sequence is not None
                if sequence is None:
                    continue
                prefilling = [one for one in prefilling if one.state is State.RUNNING]
                if sequence.started_at_s is None:  # not when it comes back after preemption
                    self._start(sequence, now_s)
                    started.append(sequence)
            elif sequence is not None:
                prefilling.remove(sequence)
            else:
                break
            budget.give(sequence, self.limits.step_tokens)
            if budget.given.get(sequence) == sequence.n_pending:
                self._charge_prompt(sequence, sequence.n_prompt)
        return budget, started

    def _turn(self, sequence: Sequence) -> tuple[float, int]:
        """The least goes first: whose tenant was served least, then who has least to compute."""
        return self.waiting.tenant(sequence).served, sequence.n_pending

    def _let_in(self, head: Sequence, now_s: float, budget: StepBudget) -> Sequence | None:
        """Give a place and blocks to the head of the queue, or else to one whose tenant has none.

        A block is left for each running sequence, or the newcomer would be preempted at once.
        """
        for sequence in (head, self.waiting.head(now_s, without_place=True)):
            if sequence is None:
                continue
            cached = self.memory.cached_blocks(sequence)
            n_blocks = self.memory.n_blocks_of(sequence)
            victims = who_gives_way(
                self.running,
                sequence,
                limits=self.limits,
                n_tenants=self.waiting.n_tenants,
                n_blocks=n_blocks,
                n_lacking=n_blocks - len(cached),
                pool=self.pool,
                n_free=self.pool.n_free - self.pool.n_free_in(cached),
            )
            if victims is None:
                continue
            for victim in victims:
                self._preempt(victim)
                budget.take_back(victim)
            self.waiting.take(sequence)
            self.running.append(sequence)
            sequence.state = State.RUNNING
            self.memory.hold(sequence, cached)
            return sequence
        return None

    def _start(self, sequence: Sequence, now_s: float) -> None:
        sequence.started_at_s = now_s
        sequence.cached_tokens = sequence.n_computed
        self.cached_tokens += sequence.cached_tokens
        self.queue_s += now_s - sequence.queued_at_s

    def _make_room(self, sequence: Sequence) -> None:
        """A block for its next token, taken from others if need be, or from itself.

        Of who holds most memory the youngest goes; never the oldest of all.
        """
        while self.pool.n_free == 0:
            oldest = min(self.running, key=_number)
            n_held = {tenant: held.n_blocks for tenant, held in holdings_of(self.running).items()}
            victim = max(
                (one for one in self.running if one is not oldest),
                key=lambda one: (n_held[one.request.tenant_id], one.number),
            )
            self._preempt(victim)
            if victim is sequence:
                return
        self.memory.grow(sequence)

    def _preempt(self, sequence: Sequence) -> None:
        """Back into the queue; its tokens stay known and are computed again, or found again."""
        self.running.remove(sequence)
        self.memory.give_back(sequence)
        sequence.n_computed = 0
        if not sequence.prompt_scored:
            sequence.prompt_logprobs = []
        sequence.state = State.WAITING
        self.waiting.put_back(sequence)
        self.preemptions += 1

    def _draft(self, sequence: Sequence, n_left: int) -> list[int]:
        """Guesses at its next tokens, within what is left of the step and of the memory."""
        request = sequence.request
        if len(self.running) > self.limits.draft_max_running or request.grammar is not None:
            return []
        n_max = min(
            self.limits.draft_tokens,
            request.max_output_tokens - sequence.n_output - 1,
            n_left,
            self.memory.n_unused(sequence) + self.memory.n_spare_tokens(len(self.running)),
        )
        draft = sequence.lookup.propose(sequence.token_ids, n_max)
        self.memory.grow(sequence, len(draft))
        self.draft_tokens += len(draft)
        return draft

    def _slice(self, sequence: Sequence, n_tokens: int, draft: list[int]) -> Slice:
        start, n_known = sequence.n_computed, len(sequence.token_ids)
        samples = start + n_tokens == n_known
        if samples and not sequence.charged:
            self._charge_prompt(sequence, sequence.n_prompt)
        return Slice(
            sequence=sequence,
            start=start,
            token_ids=sequence.token_ids[start : start + n_tokens] + draft,
            block_ids=sequence.block_ids,
            samples=samples,
            n_output=n_known - sequence.n_prompt,
            n_draft=len(draft),
        )

    def _charge_prompt(self, sequence: Sequence, n_tokens: int) -> None:
        """Count a prompt as served, without what was found in the cache; once.

        When its last chunk is planned, or it ends: so a prompt in chunks keeps its turn.
        """
        if not sequence.charged:
            sequence.charged = True
            n_computed = max(0, min(n_tokens, sequence.n_prompt) - sequence.cached_tokens)
            self.waiting.charge(sequence, INPUT_WEIGHT * n_computed)

    def _count(self, one: Slice, n_new: int, now_s: float) -> None:
        """What new tokens count for: the time of the first, the tenant's service."""
        sequence = one.sequence
        if sequence.first_token_at_s is None:
            sequence.first_token_at_s = now_s
        self.waiting.charge(sequence, OUTPUT_WEIGHT * n_new)
        self.accepted_draft_tokens += sequence.n_computed - (one.end - one.n_draft)


def _number(sequence: Sequence) -> int:
    return sequence.number
