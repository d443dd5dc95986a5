"""What a GPU would compute, by Triton's interpreter and without graphs: no GPU is used."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from weir_inference.adapters.engines.torch import batch_draw, sampler
from weir_inference.adapters.engines.torch.backend import Backend, TorchBackend
from weir_inference.adapters.engines.torch.batch_draw import (
    UNSETTLED,
    BatchDraw,
    draw_among_likeliest,
    draw_batch,
)
from weir_inference.adapters.engines.torch.checkpoint import load_weights
from weir_inference.adapters.engines.torch.decoder import Adapt, Rope
from weir_inference.adapters.engines.torch.forward import Forward, PlainForward
from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.engines.torch.model_runner import ModelRunner
from weir_inference.adapters.engines.torch.ops import TorchOps
from weir_inference.adapters.engines.torch.torch_engine import TorchSettings, open_backend
from weir_inference.adapters.engines.torch.weights import DenseMatrix
from weir_inference.core.limits import Limits
from weir_inference.core.request import Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.scheduler import Scheduler
from weir_inference.core.sequence import Sequence as TokenSequence
from weir_inference.core.step_plan import Slice, StepPlan

pytest.importorskip("triton")

import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder

from weir_inference.adapters.engines.torch.cuda.attention import RaggedAttention
from weir_inference.adapters.engines.torch.cuda.backend import CudaBackend
from weir_inference.adapters.engines.torch.cuda.decode_graphs import Capture, Compute, sizes
from weir_inference.adapters.engines.torch.cuda.forward import CudaForward
from weir_inference.adapters.engines.torch.cuda.ops import CudaOps
from weir_inference.adapters.engines.torch.cuda.step_inputs import StepInputs, StepNumbers

CPU = torch.device("cpu")
N_BLOCKS = 8
CONTEXT_TOKENS = 96
ROWS_MAX = 4
N_PROGRAMS = 4


@pytest.fixture(autouse=True)
def interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """It imports some of Triton late, and would multiply the bits of bf16 as whole numbers."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    dot = InterpreterBuilder.create_dot

    def widened(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        wide = [self.cast_impl(x, tl.float32) if x.dtype == tl.bfloat16 else x for x in (a, b)]
        return dot(self, *wide, *rest)

    monkeypatch.setattr(InterpreterBuilder, "create_dot", widened)


@dataclass(frozen=True)
class Heads:
    """What attention depends on; `n_programs` splits a decode."""

    n: int
    n_kv: int
    dim: int
    window: int | None = None
    n_programs: int = 1

    @property
    def config(self) -> ModelConfig:
        return ModelConfig(
            "mistral", 9, self.n * self.dim, 8, 1, self.n, self.n_kv, self.dim, 256,
            sliding_window=self.window,
        )  # fmt: skip


# (tokens, start) of each sequence of a step
Ragged = Sequence[tuple[int, int]]
MIXED: Ragged = [(1, 40), (21, 0), (1, 0), (5, 30), (1, 79)]


def dense_attention(q: Tensor, keys: Tensor, values: Tensor, heads: Heads, start: int) -> Tensor:
    """q: [tokens, heads, dim] at `start`, …; keys and values: [all tokens, kv_heads, dim]."""
    ahead = torch.arange(start, start + len(q)).unsqueeze(1) - torch.arange(len(keys))
    mask = (ahead >= 0) & (ahead < (heads.window or len(keys)))
    q, keys, values = (x.float().transpose(0, 1) for x in (q, keys, values))
    mixed = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, enable_gqa=True)
    return mixed.transpose(0, 1).flatten(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("heads", "ragged"),
    [
        (Heads(6, 2, 24), MIXED),
        (Heads(6, 2, 24, window=21, n_programs=24), MIXED),
        (Heads(2, 2, 64, window=7), [(40, 0), (30, 25), (1, 90)]),
        (Heads(4, 4, 64, n_programs=64), [(1, 150)]),
        (Heads(8, 1, 128, n_programs=9), [(1, 3), (17, 60), (1, 64)]),
        (Heads(7, 1, 24, window=200), [(1, 150), (20, 130)]),
    ],
)
def test_ragged_attention_equals_dense_attention(
    heads: Heads, ragged: Ragged, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(1)
    n_tokens = sum(n for n, _ in ragged)
    pages = torch.randn(2, 40, 16, heads.n_kv, heads.dim, generator=generator).to(dtype)
    q = torch.randn(n_tokens, heads.n + 3, heads.dim, generator=generator).to(dtype)
    attention = RaggedAttention(heads.config, dtype, heads.n_programs)
    numbers, wanted = StepNumbers(attention.tokens_of_a_tile), []
    free = torch.randperm(40, generator=generator).tolist()
    row = 0
    for n, start in ragged:
        block_ids = [free.pop() for _ in range(-(-(start + n) // 16))]
        numbers.add((0,) * n, start, block_ids)
        keys, values = pages[:, block_ids].flatten(1, 2)[:, : start + n]
        wanted.append(dense_attention(q[row : row + n, : heads.n], keys, values, heads, start))
        row += n
    step = StepInputs.of(torch.from_numpy(numbers.packed()), numbers.shape)
    mixed = attention(q.flatten(1), pages, step)
    tolerance = 2e-6 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(mixed.float(), torch.cat(wanted), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_stands_between_products_equals_torch(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(2)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    ours, theirs = CudaOps(), TorchOps()
    heads = random(3, 7, 24)[:, 2:5]  # as queries and keys lie
    for x in (random(3, 40), heads):
        weight = random(x.shape[-1])
        torch.testing.assert_close(ours.norm(x, weight, 1e-5), theirs.norm(x, weight, 1e-5))
    x, addend = random(3, 40), random(3, 60)
    gated = DenseMatrix(random(60, 40))
    torch.testing.assert_close(ours.gated(x, gated), theirs.gated(x, gated))
    for bias in (None, random(60)):
        matrix = DenseMatrix(random(60, 40), bias)
        wanted = theirs.linear(x, matrix, addend)
        rounded = 1e-5 if dtype == torch.float32 else 0.13  # of numbers up to 32
        torch.testing.assert_close(
            ours.linear(x, matrix, addend.clone()), wanted, atol=rounded, rtol=1e-5
        )


def runner_of(folder: Path, kernels: str, capture: Capture | None = None) -> ModelRunner:
    """A runner in fp32 on the CPU. Without `capture` no graphs."""
    config = ModelConfig.load(folder)
    backend: Backend = TorchBackend(config, torch.float32, CPU, "none")
    if kernels == "cuda":
        backend = CudaBackend(config, torch.float32, CPU, "none", n_programs=N_PROGRAMS)
    weights = load_weights(folder, config, backend)
    backend.open_cache(N_BLOCKS, Rope.of(config, CONTEXT_TOKENS))
    forward: Forward = PlainForward(config, weights, backend)
    if isinstance(backend, CudaBackend):
        with torch.inference_mode():
            forward = CudaForward(config, weights, backend, capture, ROWS_MAX)
    return ModelRunner(config, weights, backend, forward, adapters_max=1)


class Recorder:
    """A `Capture` without a GPU: it computes anew, on what then lies in the buffers; counted."""

    def __init__(self) -> None:
        self.n_replays = 0

    def __call__(self, compute: Compute) -> Compute:
        def replay() -> Tensor:
            self.n_replays += 1
            return compute()

        return replay


class Watched:
    """A `Forward` whose last result is looked at."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward

    def __call__(
        self, slices: Sequence[Slice], adapt: Adapt, chosen: Tensor | None = None
    ) -> Tensor:
        self.hidden = self._forward(slices, adapt, chosen)
        return self.hidden


@pytest.mark.parametrize(("name", "draft_tokens"), [("mistral, sliding window", 3), ("qwen3", 0)])
def test_every_step_equals_that_of_torch(save_model: Any, name: str, draft_tokens: int) -> None:
    folder, _ = save_model(name)
    recorder = Recorder()
    ours, theirs = runner_of(folder, "cuda", recorder), runner_of(folder, "torch")
    ours.forward, theirs.forward = our, their = Watched(ours.forward), Watched(theirs.forward)
    limits = Limits(
        n_blocks=N_BLOCKS,
        block_size=16,
        context_tokens=CONTEXT_TOKENS,
        max_running=ROWS_MAX,
        max_queued=ROWS_MAX,
        step_tokens=13,
        draft_tokens=draft_tokens,
    )
    scheduler = Scheduler(limits, [])
    for n_prompt in (1, 21):
        prompt = tuple(7 * (i % 4) + n_prompt for i in range(n_prompt))
        greedy = Sampling(temperature=0.0, ignore_eos=True)
        scheduler.add(Request(str(n_prompt), prompt, 4, greedy), 0.0)
    while scheduler.running or scheduler.waiting:
        plan = scheduler.plan(0.0)
        results = ours.start(plan)()
        assert results == theirs.start(plan)()
        torch.testing.assert_close(our.hidden, their.hidden, atol=1e-4, rtol=1e-4)
        scheduler.commit(plan, results, 0.0)
    assert (scheduler.draft_tokens > 0) == (draft_tokens > 0)
    assert recorder.n_replays > 0


def generate(runner: ModelRunner, overlaps: bool) -> tuple[dict[str, list[int]], int, int]:
    """What three requests of different lengths get; steps that followed, and those misled."""
    limits = Limits(
        n_blocks=N_BLOCKS,
        block_size=16,
        context_tokens=CONTEXT_TOKENS,
        max_running=ROWS_MAX,
        max_queued=ROWS_MAX,
        step_tokens=ROWS_MAX,
    )
    scheduler = Scheduler(limits, [])
    warm = Sampling(temperature=1.5, top_p=0.9, seed=3)
    sequences = [
        scheduler.add(Request(str(n), (n, 5), 14 - 3 * n, sampling), 0.0)
        for n, sampling in enumerate((Sampling(temperature=0.0), warm, Sampling(seed=4)))
    ]
    n_followers = n_misled = 0
    while scheduler.running or scheduler.waiting:
        plan: StepPlan | None = scheduler.plan(0.0)
        assert plan is not None
        results = runner.start(plan)
        while plan is not None:
            follower = scheduler.plan_after(plan) if overlaps else None
            following = None if follower is None else runner.start(follower)
            done = results()
            scheduler.commit(plan, done, 0.0)
            n_followers += follower is not None
            if follower is not None and any(one.misled for one in done):
                n_misled += 1
                break
            if following is not None:
                results = following
            plan = follower
    assert scheduler.pool.n_held == 0
    return {one.request.request_id: one.token_ids for one in sequences}, n_followers, n_misled


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("settled", [True, False])
def test_tokens_are_the_same_where_steps_start_before_the_last_is_over(
    save_model: Any, monkeypatch: pytest.MonkeyPatch, graphs: bool, settled: bool
) -> None:
    monkeypatch.setattr(sampler, "choose", lambda *given: BatchDraw(*given[:3]))
    if not settled:
        monkeypatch.setattr(batch_draw, "WIDTHS", (2, 4))
    folder, _ = save_model("llama")
    runner = runner_of(folder, "cuda", Recorder() if graphs else None)
    tokens, n_followers, n_misled = generate(runner, overlaps=True)
    assert n_followers >= 10
    assert (n_misled == 0) is settled
    assert generate(runner_of(folder, "cuda"), overlaps=False) == (tokens, 0, 0)


def slices_of(*lengths: int) -> list[Slice]:
    """One token each, behind so many others, in blocks from the first on."""
    slices, free = [], iter(range(N_BLOCKS))
    for n, start in enumerate(lengths):
        block_ids = [next(free) for _ in range(start // 16 + 1)]
        sequence = TokenSequence(Request(str(n), (1,), 9, Sampling(temperature=0.0)), 0.0)
        slices.append(Slice(sequence, start, [n + 3], block_ids, samples=True, n_output=0))
    return slices


@torch.inference_mode()
def test_graphs_give_what_launches_give_and_write_nowhere_else(save_model: Any) -> None:
    folder, _ = save_model("llama")
    recorder = Recorder()
    graphs, launches = runner_of(folder, "cuda", recorder), runner_of(folder, "cuda")
    caches = []
    for runner in (graphs, launches):
        assert isinstance(runner.backend, CudaBackend)
        pages = runner.backend.cache.pages
        pages.copy_(torch.randn(pages.shape, generator=torch.Generator().manual_seed(4)))
        caches.append(pages)
    before = caches[0].clone()
    # Fewer rows after more: nothing of the fuller step may be left in the buffer.
    for n_steps, slices in enumerate((slices_of(40, 3, 20), slices_of(17)), start=1):
        hidden = graphs.hidden_states(slices)
        assert recorder.n_replays == n_steps
        torch.testing.assert_close(hidden, launches.hidden_states(slices), atol=1e-6, rtol=1e-6)
        ours, theirs = (pages[:, :, :N_BLOCKS] for pages in caches)
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    changed = (caches[0] != before).flatten(4).any(-1).any(1).any(0).nonzero().tolist()
    written = {(2, 8), (3, 3), (5, 4), (1, 1)}
    scratch = {(N_BLOCKS, 0)}
    assert {tuple(slot) for slot in changed} == written | scratch


@torch.inference_mode()
def test_steps_of_more_rows_or_more_tokens_or_with_adapters_are_launched(save_model: Any) -> None:
    recorder = Recorder()
    runner = runner_of(save_model("llama")[0], "cuda", recorder)
    assert sizes(3) == [1, 2, 3]
    assert sizes(1) == [1]
    assert sizes(48) == [1, 2, 4, 8, 16, 32, 48]
    two = replace(slices_of(3)[0], token_ids=[4, 5])
    runner.hidden_states([two])
    runner.hidden_states(slices_of(*[0] * (ROWS_MAX + 1)))
    forward = runner.forward
    forward(slices_of(0), lambda layer, part, x, addend: addend)
    assert recorder.n_replays == 0


def test_without_triton_torch_computes_and_the_log_says_so(
    save_model: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config = ModelConfig.load(save_model("llama")[0])
    with caplog.at_level("INFO"):
        backend = open_backend(config, TorchSettings(device="cuda"))
    assert (backend.name, backend.device.type) == ("torch", "cuda")
    assert "torch computes: there is no triton" in caplog.text


def test_the_kernels_compile_for_gpus(tmp_path: Path) -> None:
    """To machine code, for the shapes of Llama 3.2 1B; in a process that does not interpret."""
    script = Path(__file__).with_name("compile_cuda_kernels.py")
    environ = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "TRITON_INTERPRET": "0"}
    subprocess.run([sys.executable, script], env=environ, check=True, timeout=100)


def test_rows_are_chosen_alike_alone_and_together() -> None:
    generator = torch.Generator().manual_seed(6)
    samplings = [
        Sampling(1.0),
        Sampling(0.8, top_p=0.3),
        Sampling(2.0, top_p=0.95),  # of more than the likeliest 256
        Sampling(1.0, top_k=300),
        Sampling(1.0, top_k=5, min_p=0.01),
    ]
    logits = 2 * torch.randn(1 + len(samplings), 6000, generator=generator)
    for numbers in torch.rand(4, len(samplings), generator=generator).tolist():
        draw = BatchDraw(logits, [Sampling(0.0), *samplings], [0.0, *numbers])
        chosen, unsettled = draw.chosen()
        assert set(unsettled) <= {3, 4}
        assert chosen[0] == logits[0].argmax()
        settled = draw_among_likeliest(logits[1:], samplings, numbers).tolist()
        for n, (sampling, number) in enumerate(zip(samplings, numbers, strict=True)):
            (alone,) = draw_batch(logits[1 + n : 2 + n], [sampling], [number]).tolist()
            assert chosen[1 + n] == alone
            assert settled[n] == (UNSETTLED if n in (2, 3) else alone)


def test_drawing_waits_for_no_value_of_the_device() -> None:
    logits = torch.empty(3, 6000, device="meta")  # has no values: to look at one raises
    for samplings in (
        [Sampling(top_p=0.9)] * 3,
        [Sampling()] * 3,
        [Sampling(top_k=9), Sampling(), Sampling(min_p=0.1)],
    ):
        assert draw_among_likeliest(logits, samplings, [0.1, 0.5, 0.9]).shape == (3,)
