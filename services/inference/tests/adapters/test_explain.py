"""Attributions are the model's own gradients, and integrated ones add up."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from weir_inference.adapters.engines.torch.explain import Explainer, Stopped
from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.engines.torch.model_runner import ModelRunner
from weir_inference.adapters.engines.torch.peft_folder import read_peft_folder
from weir_inference.adapters.engines.torch.torch_engine import TorchSettings, load_runner
from weir_inference.core.explanation import AttributionMethod, Explanation, ExplanationRequest
from weir_kit.errors import InvalidArgument, ModelNotFound

TOLERANCE = 1e-4
IDS = torch.randint(3, 97, (19,), generator=torch.Generator().manual_seed(4)).tolist()


def runner_of(folder: Path, **settings: Any) -> ModelRunner:
    config = ModelConfig.load(folder)
    return load_runner(folder, config, TorchSettings(**{"dtype": "fp32", "kv_mb": 4} | settings))[0]


def explained(runner: ModelRunner, **fields: Any) -> Explanation:
    request = ExplanationRequest(tuple(IDS[:12]), tuple(IDS[12:]), **fields)
    return Explainer(runner).attribute(request, lambda: None)


def logprob_of(model: Any, embeddings: Tensor) -> Tensor:
    logits: Tensor = model(inputs_embeds=embeddings.unsqueeze(0)).logits[0, -1]
    return logits.log_softmax(-1)[IDS[-1]]


def assert_gradient_x_input(explanation: Explanation, theirs: Any) -> None:
    embeddings = theirs.get_input_embeddings()(torch.tensor(IDS[:-1])).detach().requires_grad_()
    logprob = logprob_of(theirs, embeddings)
    (gradient,) = torch.autograd.grad(logprob, embeddings)
    wanted = (gradient * embeddings).sum(-1)
    assert explanation.logprob == pytest.approx(logprob.item(), abs=TOLERANCE)
    assert explanation.attributions == pytest.approx(wanted.tolist(), abs=TOLERANCE)


@pytest.mark.parametrize("kernels", ["native", "torch"])
@pytest.mark.parametrize("name", ["llama, biases", "qwen3", "mistral, sliding window"])
def test_gradient_x_input_is_what_autograd_makes_of_transformers_model(
    name: str, kernels: str, save_model: Any
) -> None:
    folder, theirs = save_model(name)
    assert_gradient_x_input(explained(runner_of(folder, kernels=kernels)), theirs)


@pytest.mark.parametrize("kernels", ["native", "torch"])
def test_an_adapter_is_explained_as_the_merged_model(
    kernels: str, save_model: Any, save_adapter: Any, merged: Any
) -> None:
    folder, theirs = save_model("llama")
    runner, source = runner_of(folder, kernels=kernels), save_adapter(theirs, 1)
    runner.adapters.load("a", read_peft_folder(source, runner.config))
    with merged(theirs, source):
        assert_gradient_x_input(explained(runner, adapter="a"), theirs)
    with pytest.raises(ModelNotFound):
        explained(runner, adapter="b")


@pytest.mark.parametrize("kernels", ["native", "torch"])
@pytest.mark.parametrize("quantize", ["none", "int8", "int4"])
def test_integrated_gradients_add_up_to_what_the_tokens_changed(
    quantize: str, kernels: str, save_model: Any
) -> None:
    folder, theirs = save_model("llama")
    runner = runner_of(folder, kernels=kernels, quantize=quantize)
    explanation = explained(runner, method=AttributionMethod.INTEGRATED_GRADIENTS, steps=64)
    with torch.no_grad():
        nothing = logprob_of(theirs, torch.zeros(len(IDS) - 1, 48)).item()
    if quantize == "none":
        embeddings = theirs.get_input_embeddings()(torch.tensor(IDS[:-1]))
        assert explanation.logprob == pytest.approx(logprob_of(theirs, embeddings).item(), abs=1e-4)
    changed = explanation.logprob - nothing
    assert abs(changed) > 0.1
    print("steps", 64, sum(explanation.attributions), changed)
    assert sum(explanation.attributions) == pytest.approx(changed, abs=0.02 * abs(changed))


def test_a_stopped_explanation_ends_at_the_next_piece(save_model: Any) -> None:
    folder, _ = save_model("llama")
    calls = threading.Semaphore(5)

    def pause() -> None:
        if not calls.acquire(blocking=False):
            raise Stopped

    request = ExplanationRequest(tuple(IDS[:12]), tuple(IDS[12:]))
    with pytest.raises(Stopped):
        Explainer(runner_of(folder)).attribute(request, pause)


async def test_what_would_take_too_much_memory_is_refused(save_model: Any) -> None:
    folder, _ = save_model("llama")
    explainer = Explainer(runner_of(folder))
    with pytest.raises(InvalidArgument, match="MB to explain"):
        await explainer.explain(ExplanationRequest((3,) * 500_000, (3,)))
    explainer.close()
