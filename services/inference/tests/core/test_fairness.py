"""One tenant floods; what the other one feels of it, by a clock that steps move."""

import random
from dataclasses import replace

import pytest

from weir_inference.core.fair_queue import IDLE_TENANTS_MAX, FairQueue
from weir_inference.core.request import Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.scheduler import Limits, Scheduler
from weir_inference.core.sequence import Sequence
from weir_inference.core.step_plan import SliceResult, StepPlan
from weir_kit.clock import ManualClock

LIMITS = Limits(
    n_blocks=1024,
    block_size=16,
    context_tokens=4096,
    max_running=32,
    max_queued=256,
    step_tokens=256,
)
STEP_S, TOKEN_S = 0.050, 0.001  # a small model on two cores: what a step and a token in it cost


class Simulation:
    """A scheduler whose steps take time by their tokens; tenants that send."""

    def __init__(self, limits: Limits = LIMITS, seed: int = 0) -> None:
        self.scheduler = Scheduler(limits, [])
        self.clock = ManualClock(0.0)
        self.random = random.Random(seed)
        self.n_sent = 0

    @property
    def now_s(self) -> float:
        return self.clock.monotonic_s()

    def send(self, tenant_id: str, n_prompt: int, n_output: int) -> Sequence:
        self.n_sent += 1
        prompt = tuple(self.random.randrange(30_000) for _ in range(n_prompt))
        sampling = Sampling(seed=0, ignore_eos=True)
        request = Request(f"req_{self.n_sent}", prompt, n_output, sampling, tenant_id=tenant_id)
        return self.scheduler.add(request, self.now_s)

    def flood(self, tenant_id: str, n_requests: int, n_prompt: int, n_output: int) -> None:
        """Keep so many of a tenant's requests in the engine."""
        scheduler = self.scheduler
        live = (*scheduler.running, *scheduler.waiting)
        n_live = sum(one.request.tenant_id == tenant_id for one in live)
        for _ in range(n_requests - n_live):
            self.send(tenant_id, n_prompt, n_output)

    def turn(self) -> StepPlan:
        plan = self.scheduler.plan(self.now_s)
        n_tokens = sum(len(one.token_ids) for one in plan.slices)
        self.clock.advance(STEP_S + TOKEN_S * n_tokens)
        results = [SliceResult((7,) * one.n_sampled) for one in plan.slices]
        self.scheduler.commit(plan, results, self.now_s)
        return plan


def ttft_s(sequence: Sequence) -> float:
    assert sequence.first_token_at_s is not None
    return sequence.first_token_at_s - sequence.queued_at_s


def percentile(values: list[float], percent: int) -> float:
    return sorted(values)[len(values) * percent // 100]


def ttfts_s(n_prompt: int, flood: bool, n_arrivals: int = 100) -> list[float]:
    """Of B's requests, each sent at a random moment after the end of the one before."""
    it = Simulation()
    found = []
    for _ in range(n_arrivals):
        arrives_s = it.now_s + it.random.uniform(1.0, 8.0)
        if not flood:
            it.clock.advance(arrives_s - it.now_s)
        while it.now_s < arrives_s:
            it.flood("a", 64, 64, 64)
            it.turn()
        sequence = it.send("b", n_prompt, 16)
        sequence.queued_at_s = arrives_s  # while the step ran that is just over
        while sequence.ended_at_s is None:
            if flood:
                it.flood("a", 64, 64, 64)
            it.turn()
        found.append(ttft_s(sequence))
    return found


@pytest.mark.parametrize("n_prompt", [512, 2048])
def test_a_flood_does_not_double_the_time_to_another_tenants_first_token(n_prompt: int) -> None:
    alone, beside = (ttfts_s(n_prompt, flood) for flood in (False, True))
    assert percentile(beside, 99) <= 2 * percentile(alone, 99)


def test_two_tenants_that_both_flood_are_served_the_same() -> None:
    it = Simulation()
    served, known = {"a": 0, "b": 0}, {}
    n_computed = 0
    for _ in range(600):
        it.flood("a", 40, 64, 64)
        it.flood("b", 40, 300, 8)
        for one in it.turn().slices:
            before = known.get(one.request.request_id, 0)
            known[one.request.request_id] = max(before, one.end)
            n_prompt = max(0, min(one.end, one.sequence.n_prompt) - max(one.start, before))
            served[one.request.tenant_id] += n_prompt + 2 * one.n_sampled
            n_computed += len(one.token_ids)
    assert served["a"] == pytest.approx(served["b"], rel=0.05)
    assert n_computed < 1.02 * sum(known.values()), "little is computed twice by preemption"


def test_a_tenant_without_a_place_is_let_in_and_a_place_is_not_taken_back() -> None:
    it = Simulation(replace(LIMITS, max_running=4))
    it.flood("a", 10, 16, 1000)
    it.turn()
    it.send("b", 16, 1000)
    tenants = [[one.request.tenant_id for one in it.turn().slices] for _ in range(50)]
    assert all(sorted(one) == ["a", "a", "a", "b"] for one in tenants)
    assert it.scheduler.preemptions == 1
    it.flood("b", 10, 16, 1000)
    tenants = [[one.request.tenant_id for one in it.turn().slices] for _ in range(50)]
    assert all(sorted(one) == ["a", "a", "b", "b"] for one in tenants)
    assert it.scheduler.preemptions == 2


def test_a_tenant_without_memory_is_let_in_though_places_are_free() -> None:
    it = Simulation(replace(LIMITS, n_blocks=64, context_tokens=1024))
    it.flood("a", 8, 240, 200)
    while not it.scheduler.waiting:
        it.turn()
    it.turn()
    late = it.send("b", 240, 10)
    it.turn()
    assert late.started_at_s is not None


def test_a_tenant_that_was_away_has_neither_credit_nor_lost_its_debt() -> None:
    queue = FairQueue()
    prompt = Simulation()
    first = prompt.send("a", 4, 4)
    queue.add(first)
    queue.take(first)
    queue.charge(first, 1000)
    waits = prompt.send("a", 4, 4)
    queue.add(waits)
    newcomer = prompt.send("b", 4, 4)
    queue.add(newcomer)
    assert queue.tenant(newcomer).served == queue.tenant(first).served == 1000
    queue.charge(newcomer, 500)
    queue.forget(newcomer, running=False)
    again = prompt.send("b", 4, 4)
    queue.add(again)
    assert queue.tenant(again).served == 1500


def test_tenants_that_left_are_remembered_within_a_bound() -> None:
    queue, prompt = FairQueue(), Simulation()
    stays = prompt.send("stays", 4, 4)
    queue.add(stays)
    for i in range(3 * IDLE_TENANTS_MAX):
        sequence = Sequence(replace(stays.request, tenant_id=f"tenant_{i}"), 0.0, i)
        queue.add(sequence)
        queue.take(sequence)
        queue.charge(sequence, 10_000)
        queue.forget(sequence, running=True)
        assert queue.n_tenants == 1
    assert len(queue._idle) <= IDLE_TENANTS_MAX
