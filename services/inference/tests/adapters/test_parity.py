"""Logits equal transformers', by the kernels and by torch, through chunks, batches, preemption."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.engines.torch.model_runner import ModelRunner
from weir_inference.adapters.engines.torch.torch_engine import TorchSettings, load_runner
from weir_inference.core.limits import Limits
from weir_inference.core.request import Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.scheduler import Scheduler
from weir_inference.core.sequence import Sequence
from weir_inference.core.step_plan import SliceResult

TOLERANCE = 1e-4
# Chunks of at most 11 tokens, and a cache that does not hold all five contexts at once.
LIMITS = Limits(
    n_blocks=13,
    block_size=16,
    context_tokens=160,
    max_running=5,
    max_queued=5,
    step_tokens=11,
    prefix_caching=False,
)
PROMPT_TOKENS = (70, 1, 33, 16, 5)
OUTPUT_TOKENS = 24

pytestmark = pytest.mark.parametrize("kernels", ["native", "torch"])


def runner_of(folder: Path, kernels: str) -> ModelRunner:
    settings = TorchSettings(device="cpu", kernels=kernels, kv_mb=4)
    runner, limits = load_runner(folder, ModelConfig.load(folder), settings)
    assert runner.backend.name == kernels
    assert limits.n_blocks >= LIMITS.n_blocks
    return runner


def submit_prompts(scheduler: Scheduler) -> list[Sequence]:
    generator = torch.Generator().manual_seed(3)
    greedy = Sampling(temperature=0.0, ignore_eos=True)
    sequences = []
    for n, n_prompt in enumerate(PROMPT_TOKENS):
        prompt = torch.randint(3, 97, (n_prompt,), generator=generator).tolist()
        request = Request(str(n), tuple(prompt), OUTPUT_TOKENS, greedy)
        sequences.append(scheduler.add(request, 0.0))
    return sequences


@torch.inference_mode()
def test_logits_equal_transformers_at_every_position(
    any_model: tuple[Path, Any], kernels: str
) -> None:
    folder, theirs = any_model
    runner, scheduler = runner_of(folder, kernels), Scheduler(LIMITS, [])
    sequences = submit_prompts(scheduler)
    computed: dict[Sequence, list[tuple[int, Tensor]]] = defaultdict(list)
    kinds = set()
    while scheduler.running or scheduler.waiting:
        plan = scheduler.plan(0.0)
        rows = runner.logits(runner.hidden_states(plan.slices)).clone()
        results = []
        for one, logits in zip(
            plan.slices, rows.split([len(one.token_ids) for one in plan.slices]), strict=True
        ):
            computed[one.sequence].append((one.start, logits))
            kinds.add((len(one.token_ids) > 1, one.start > 0))
            chosen = (int(logits[-1].argmax()),) if one.samples else ()
            results.append(SliceResult(chosen))
        scheduler.commit(plan, results, 0.0)
    assert kinds == {(True, False), (True, True), (False, True), (False, False)}
    assert scheduler.preemptions > 0, "the cache is small enough to preempt"
    for sequence in sequences:
        wanted = theirs(torch.tensor([sequence.token_ids])).logits[0]
        for start, logits in computed[sequence]:
            difference = (logits - wanted[start : start + len(logits)]).abs().max().item()
            assert difference <= TOLERANCE


def test_greedy_text_equals_transformers_alone_and_in_a_mixed_batch(
    any_model: tuple[Path, Any], kernels: str
) -> None:
    folder, theirs = any_model
    runner, scheduler = runner_of(folder, kernels), Scheduler(LIMITS, [])
    sequences = submit_prompts(scheduler)
    while scheduler.running or scheduler.waiting:
        plan = scheduler.plan(0.0)
        scheduler.commit(plan, runner.start(plan)(), 0.0)
    for sequence in sequences:
        wanted = theirs.generate(
            torch.tensor([sequence.request.prompt_token_ids]),
            max_new_tokens=OUTPUT_TOKENS,
            min_new_tokens=OUTPUT_TOKENS,
            do_sample=False,
            eos_token_id=None,
        )
        assert sequence.token_ids == wanted[0].tolist()
