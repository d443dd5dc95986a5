"""A LoRA adapter is served under its own name, and a token explained, through the whole service."""

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from safetensors.torch import save_file

from weir_contracts.inference.v1 import inference_pb2 as pb
from weir_inference.adapters.engines.torch.explain import Explainer
from weir_inference.core.explanation import Explanation, ExplanationRequest

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


def request(model: str, request_id: str, n_output: int = 12) -> pb.GenerateRequest:
    return pb.GenerateRequest(
        request_id=request_id,
        model=model,
        prompt_token_ids=PROMPT,
        max_output_tokens=n_output,
        sampling=pb.Sampling(temperature=0.0, ignore_eos=True),
    )


async def text_of(bench: Any, model: str, request_id: str) -> list[int]:
    answers = bench.generate(request(model, request_id))
    return [i async for answer in answers for i in answer.delta.token_ids]


class HeldPieces:
    """Holds explanations at some of the pieces that they are computed in, one after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pieces: tuple[int, ...]) -> None:
        self.held, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.n_pieces = 0
        attribute = Explainer.attribute

        def held(
            explainer: Explainer, request: ExplanationRequest, pause: Callable[[], None]
        ) -> Explanation:
            def pause_and_hold() -> None:
                if self.n_pieces in pieces:
                    self.held.release()
                    assert self.go.acquire(timeout=30)
                self.n_pieces += 1
                pause()

            return attribute(explainer, request, pause_and_hold)

        monkeypatch.setattr(Explainer, "attribute", held)


async def test_an_adapter_is_served_until_it_is_unloaded(bench: Any, adapter: Path) -> None:
    before = await text_of(bench, "tiny", "r1")
    loading = pb.LoadAdapterRequest(name="changed", base_model="tiny", source=str(adapter))
    loaded = (await bench.models.LoadAdapter(loading, timeout=20)).model
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
    explained = pb.ExplainRequest(
        model="tiny", prompt_token_ids=PROMPT, output_token_ids=output[:3]
    )
    answer = await bench.explanations.Explain(explained, timeout=30)
    assert answer.logprob < 0
    assert len(answer.attributions) == len(PROMPT) + 2
    assert any(answer.attributions)


async def test_no_step_waits_for_an_explanation(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pieces of a matrix each: 9 forward, then as many backward and 8 of them anew.
    holding = HeldPieces(monkeypatch, (0, 13, 25))
    before = await text_of(bench, "tiny", "r1")
    stream = aiter(bench.generate(request("tiny", "running", n_output=200)))
    while not (await anext(stream)).delta.token_ids:
        pass
    explained = pb.ExplainRequest(model="tiny", prompt_token_ids=PROMPT, output_token_ids=before)
    explaining = asyncio.ensure_future(bench.explanations.Explain(explained, timeout=60))
    for n in range(3):
        assert await asyncio.to_thread(holding.held.acquire, timeout=30)
        # It stands still in the middle of its work, while what is generated comes to its end.
        steps = (await bench.load()).steps
        if n == 0:
            rest = [answer async for answer in stream]
            assert rest[-1].usage.output_tokens == 200
        assert await text_of(bench, "tiny", f"beside-{n}") == before
        assert (await bench.load()).steps >= steps + 12
        assert not explaining.done()
        holding.go.release()
    assert len((await explaining).attributions) == len(PROMPT) + 11
