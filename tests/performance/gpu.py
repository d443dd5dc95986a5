"""The CUDA path on a lent GPU: decoding of a random model of Llama 3.2 1B's shape, in bf16.

    python tests/performance/gpu.py          # a GPU
    python tests/performance/gpu.py tiny     # seconds on any machine: that the script works

Prints, by batch: tok/s with CUDA graphs, with each step waiting for the one before it, without
graphs, by torch alone, and by transformers' `generate`.
The roofline is what the weights of a token take at the bandwidth that a copy on the device reaches.
Never run on a GPU so far.
"""

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.engines.torch.model_runner import ModelRunner
from weir_inference.adapters.engines.torch.torch_engine import TorchSettings, load_runner
from weir_inference.core.limits import Limits
from weir_inference.core.request import Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.scheduler import Scheduler

PROMPT_TOKENS, OUTPUT_TOKENS = 128, 128
BATCHES = (1, 32, 256)
SHAPE: dict[str, Any] = {
    "vocab_size": 128_256, "hidden_size": 2048, "intermediate_size": 8192, "head_dim": 64,
    "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
    "tie_word_embeddings": True, "max_position_embeddings": 2048,
}  # fmt: skip
TINY = SHAPE | {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "head_dim": 16,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
SETTINGS = TorchSettings(kv_mb=4096, max_running=max(BATCHES), draft_tokens=0)
WAYS = {
    "graphs": (SETTINGS, True),
    "no overlap": (SETTINGS, False),
    "no graphs": (replace(SETTINGS, cuda_graphs=False), True),
    "torch": (replace(SETTINGS, kernels="torch"), True),
}


def main() -> None:
    tiny = sys.argv[1:] == ["tiny"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(torch.cuda.get_device_name() if device == "cuda" else "no GPU: numbers say nothing")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        LlamaForCausalLM(LlamaConfig(**(TINY if tiny else SHAPE))).bfloat16().save_pretrained(name)
        for way, (settings, overlaps) in WAYS.items():
            if tiny:
                settings = replace(settings, kv_mb=64)
            runner, limits = load_runner(folder, ModelConfig.load(folder), settings)
            for batch in (1, 4) if tiny else BATCHES:
                overlaps = overlaps and runner.overlaps
                decode_tok_s(runner, limits, batch, overlaps)  # warms up
                report(way, batch, decode_tok_s(runner, limits, batch, overlaps))
            if way == "graphs":
                bandwidth = bytes_per_s(device, 2**24 if tiny else 2**31)
                print(f"roofline at batch 1: {bandwidth / runner.weights.n_bytes:.0f} tok/s")
            del runner
        reference: Any = AutoModelForCausalLM.from_pretrained(name, dtype=torch.bfloat16)
        reference.to(device)
        for batch in (1, 4) if tiny else BATCHES:
            generate_tok_s(reference, batch, device)
            report("transformers", batch, generate_tok_s(reference, batch, device))


def report(way: str, batch: int, tok_s: float) -> None:
    print(f"{way:14} batch {batch:3}: {tok_s:9.0f} tok/s, {1000 * batch / tok_s:7.2f} ms a step")


def decode_tok_s(runner: ModelRunner, limits: Limits, batch: int, overlaps: bool) -> float:
    """Of the steps of decoding alone, scheduling and sampling (greedy) included."""
    scheduler = Scheduler(replace(limits, step_tokens=2048, prefix_caching=False), [])
    greedy = Sampling(temperature=0.0, ignore_eos=True)
    for n in range(batch):
        prompt = tuple((31 * n + 7 * i) % 500 for i in range(PROMPT_TOKENS))
        scheduler.add(Request(str(n), prompt, OUTPUT_TOKENS, greedy), 0.0)
    n_tokens, spent_s = 0, 0.0
    plan, results, ended_s = None, None, time.perf_counter()
    while scheduler.running or scheduler.waiting:
        if plan is None or results is None:
            plan = scheduler.plan(0.0)
            results = runner.start(plan)
        follower = scheduler.plan_after(plan) if overlaps else None
        following = None if follower is None else runner.start(follower)
        scheduler.commit(plan, results(), 0.0)
        began_s, ended_s = ended_s, time.perf_counter()
        if len(plan.slices) == batch and all(len(one.token_ids) == 1 for one in plan.slices):
            n_tokens += batch
            spent_s += ended_s - began_s
        plan, results = follower, following
    return n_tokens / spent_s


def generate_tok_s(model: Any, batch: int, device: str) -> float:
    """Of what a longer output takes more than one of a token: decoding alone."""
    prompts = torch.randint(500, (batch, PROMPT_TOKENS), device=device)

    def spent_s(n_tokens: int) -> float:
        began_s = time.perf_counter()
        made = model.generate(
            prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=n_tokens,
            min_new_tokens=n_tokens, do_sample=False, eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        made.tolist()  # waits for the device
        return time.perf_counter() - began_s

    return batch * (OUTPUT_TOKENS - 1) / (spent_s(OUTPUT_TOKENS) - spent_s(1))


def bytes_per_s(device: str, n_bytes: int) -> float:
    """Read and written by copies, the best of ten."""
    source = torch.zeros(n_bytes, dtype=torch.uint8, device=device)
    target, best_s = source.clone(), float("inf")
    for _ in range(10):
        source[:1].tolist()
        began_s = time.perf_counter()
        target.copy_(source)
        target[:1].tolist()  # waits for the device
        best_s = min(best_s, time.perf_counter() - began_s)
    return 2 * n_bytes / best_s


if __name__ == "__main__":
    main()
