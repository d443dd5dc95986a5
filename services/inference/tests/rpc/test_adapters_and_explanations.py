"""A LoRA adapter is served under its own name, and a token explained, through the whole service."""

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from safetensors.torch import save_file

from weir_contracts.inference.v1 import inference_pb2 as pb

PROMPT = [5, 9, 12, 33, 7]


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A folder in PEFT's format that changes every value projection."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 16, "target_modules": ["v_proj", "o_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(1)
    shapes = {"v_proj": (16, 32), "o_proj": (32, 32)}
    tensors = {}
    for layer in range(2):
        for name, (n_out, n_in) in shapes.items():
            prefix = f"base_model.model.model.layers.{layer}.self_attn.{name}.lora"
            tensors[f"{prefix}_A.weight"] = torch.randn(2, n_in, generator=generator)
            tensors[f"{prefix}_B.weight"] = torch.randn(n_out, 2, generator=generator)
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


async def text_of(bench: Any, model: str, request_id: str) -> list[int]:
    request = pb.GenerateRequest(
        request_id=request_id,
        model=model,
        prompt_token_ids=PROMPT,
        max_output_tokens=12,
        sampling=pb.Sampling(temperature=0.0, ignore_eos=True),
    )
    return [i async for answer in bench.generate(request) for i in answer.delta.token_ids]


async def test_an_adapter_is_served_until_it_is_unloaded(bench: Any, adapter: Path) -> None:
    before = await text_of(bench, "tiny", "r1")
    request = pb.LoadAdapterRequest(name="changed", base_model="tiny", source=str(adapter))
    loaded = (await bench.models.LoadAdapter(request, timeout=20)).model
    assert (loaded.name, loaded.base_model) == ("changed", "tiny")
    assert loaded.parameters == 2 * (2 * 32 + 16 * 2 + 2 * 32 + 32 * 2)
    assert await text_of(bench, "changed", "r2") != before
    assert await text_of(bench, "tiny", "r3") == before
    await bench.models.UnloadAdapter(pb.UnloadAdapterRequest(name="changed"), timeout=20)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await text_of(bench, "changed", "r4")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_an_output_token_is_explained(bench: Any) -> None:
    output = await text_of(bench, "tiny", "r1")
    request = pb.ExplainRequest(model="tiny", prompt_token_ids=PROMPT, output_token_ids=output[:3])
    answer = await bench.explanations.Explain(request, timeout=30)
    assert answer.logprob < 0
    assert len(answer.attributions) == len(PROMPT) + 2
    assert any(answer.attributions)
