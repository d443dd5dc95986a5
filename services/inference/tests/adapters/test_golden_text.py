"""A real model continues real prompts as its golden file says."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.engines.torch.torch_engine import (
    TorchSettings,
    limits_of,
    load_runner,
)
from weir_inference.core.request import Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.scheduler import Scheduler

ASSETS = Path(__file__).resolve().parents[5] / "shared" / "assets" / "models"
FOLDER = ASSETS / "stories260K-hf"
GOLDEN = ASSETS / "stories260K" / "golden_greedy.json"


@pytest.mark.skipif(not GOLDEN.exists(), reason="the shared assets (stories260K) are not here")
@pytest.mark.parametrize("step_tokens", [9, 1024])
def test_greedy_text_equals_the_golden_tokens(step_tokens: int) -> None:
    config = ModelConfig.load(FOLDER)
    settings = TorchSettings(kv_mb=8, step_tokens=step_tokens, max_running=8)
    limits = limits_of(config, settings, torch.float32)
    runner = load_runner(FOLDER, config, settings, torch.float32, limits.n_blocks)
    scheduler = Scheduler(limits, config.eos_token_ids)
    cases: list[dict[str, Any]] = json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]
    greedy = Sampling(temperature=0.0)
    sequences = [
        scheduler.add(
            Request(str(n), tuple(case["prompt_ids"]), len(case["greedy_ids"]), greedy), 0.0
        )
        for n, case in enumerate(cases)
    ]
    while scheduler.running or scheduler.waiting:
        plan = scheduler.plan(0.0)
        scheduler.commit(plan, runner.run(plan), 0.0)
    for sequence, case in zip(sequences, cases, strict=True):
        assert sequence.token_ids == case["prompt_ids"] + case["greedy_ids"]
