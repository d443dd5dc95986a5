"""Real models write what transformers writes, token for token, whatever the engine does meanwhile.

Prompts are real text; the cache of the runs with preemption is too small for what runs at once.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer

from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.engines.torch.model_runner import ModelRunner
from weir_inference.adapters.engines.torch.torch_engine import TorchSettings, load_runner
from weir_inference.core.limits import Limits
from weir_inference.core.request import Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.scheduler import Scheduler

ASSETS = Path(__file__).resolve().parents[5] / "shared" / "assets"
MODELS = {
    "weir-tales": Path(__file__).resolve().parents[2] / "models" / "weir-tales",
    "stories260K": ASSETS / "models" / "stories260K-hf",
}
GOLDEN = ASSETS / "models" / "stories260K" / "golden_greedy.json"
BOOK = ASSETS / "corpora" / "rudyard-kipling--just-so-stories.txt"
N_PROMPTS, PROMPT_TOKENS, OUTPUT_TOKENS = 20, 64, 48
GREEDY = Sampling(temperature=0.0, ignore_eos=True)

pytestmark = pytest.mark.skipif(not BOOK.exists(), reason="the shared assets are not here")


@cache
def runner_of(model: str, kernels: str) -> ModelRunner:
    folder = MODELS[model]
    settings = TorchSettings(device="cpu", dtype="fp32", kernels=kernels, kv_mb=64)
    return load_runner(folder, ModelConfig.load(folder), settings)[0]


@cache
def prompts_of(model: str) -> tuple[tuple[int, ...], ...]:
    """Passages of a book; the second half begin as the first half do, to share prefixes."""
    tokenizer = Tokenizer.from_file(str(MODELS[model] / "tokenizer.json"))
    ids = tokenizer.encode(BOOK.read_text(encoding="utf-8"), add_special_tokens=False).ids
    alone = [ids[i * 500 : i * 500 + PROMPT_TOKENS] for i in range(N_PROMPTS // 2)]
    shared = [one[:40] + ids[-500 + 24 * i :][:24] for i, one in enumerate(alone)]
    return tuple(tuple(one) for one in (*alone, *shared))


@cache
def theirs(model: str) -> tuple[tuple[int, ...], ...]:
    """What transformers' `generate` makes of the prompts, in fp32."""
    reference = transformers.AutoModelForCausalLM.from_pretrained(
        MODELS[model], dtype=torch.float32
    ).eval()
    prompts = torch.tensor(prompts_of(model))
    made = reference.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        max_new_tokens=OUTPUT_TOKENS,
        min_new_tokens=OUTPUT_TOKENS,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    return tuple(tuple(row[PROMPT_TOKENS:]) for row in made.tolist())


def generate(
    runner: ModelRunner, limits: Limits, prompts: Sequence[tuple[int, ...]]
) -> tuple[list[tuple[int, ...]], Scheduler]:
    """Greedy outputs of prompts that come one a step."""
    scheduler = Scheduler(limits, [])
    coming: Iterator[tuple[int, tuple[int, ...]]] = enumerate(prompts)
    sequences = []
    while True:
        for n, prompt in coming:
            request = Request(str(n), prompt, OUTPUT_TOKENS, GREEDY, tenant_id=f"t{n % 2}")
            sequences.append(scheduler.add(request, 0.0))
            break
        plan = scheduler.plan(0.0)
        if not plan.slices:
            break
        scheduler.commit(plan, runner.start(plan)(), 0.0)
    return [tuple(one.token_ids[len(one.request.prompt_token_ids) :]) for one in sequences], (
        scheduler
    )


PLAIN = Limits(
    n_blocks=200,
    block_size=16,
    context_tokens=128,
    max_running=20,
    max_queued=20,
    step_tokens=2048,
    prefix_caching=False,
    draft_max_running=20,
)
TURNED_ON = {
    "nothing": {},
    "prefix cache": {"prefix_caching": True},
    "chunks": {"step_tokens": 24},
    "preemption": {"n_blocks": 24},
    "speculation": {"draft_tokens": 4},
    "all": {"prefix_caching": True, "step_tokens": 24, "n_blocks": 24, "draft_tokens": 4},
}


@pytest.mark.parametrize("kernels", ["native", "torch"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("turned_on", TURNED_ON)
def test_greedy_text_in_a_mixed_batch_equals_transformers(
    model: str, kernels: str, turned_on: str
) -> None:
    limits = replace(PLAIN, **TURNED_ON[turned_on])
    outputs, scheduler = generate(runner_of(model, kernels), limits, prompts_of(model))
    assert outputs == list(theirs(model))
    assert (scheduler.preemptions > 0) == (turned_on in ("preemption", "all"))
    assert (scheduler.accepted_draft_tokens > 0) == (turned_on in ("speculation", "all"))
    if turned_on != "all":  # then what could be found again may be evicted before
        assert (scheduler.cached_tokens > 0) == (turned_on == "prefix cache")
    assert scheduler.pool.n_held == 0


@pytest.mark.parametrize("kernels", ["native", "torch"])
@pytest.mark.parametrize("model", MODELS)
def test_each_prompt_alone_equals_transformers(model: str, kernels: str) -> None:
    limits = Limits(
        n_blocks=16, block_size=16, context_tokens=128, max_running=1, max_queued=1, step_tokens=256
    )
    for prompt, wanted in zip(prompts_of(model)[:5], theirs(model), strict=False):
        assert generate(runner_of(model, kernels), limits, [prompt])[0] == [wanted]


@pytest.mark.parametrize("kernels", ["native", "torch"])
def test_the_golden_tokens_are_met(kernels: str) -> None:
    cases: list[dict[str, Any]] = json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]
    limits = Limits(
        n_blocks=99, block_size=16, context_tokens=512, max_running=9, max_queued=9, step_tokens=9
    )
    scheduler = Scheduler(limits, ModelConfig.load(MODELS["stories260K"]).eos_token_ids)
    greedy = Sampling(temperature=0.0)
    sequences = [
        scheduler.add(
            Request(str(n), tuple(case["prompt_ids"]), len(case["greedy_ids"]), greedy), 0.0
        )
        for n, case in enumerate(cases)
    ]
    while scheduler.running or scheduler.waiting:
        plan = scheduler.plan(0.0)
        scheduler.commit(plan, runner_of("stories260K", kernels).start(plan)(), 0.0)
    for sequence, case in zip(sequences, cases, strict=True):
        assert sequence.token_ids == case["prompt_ids"] + case["greedy_ids"]
