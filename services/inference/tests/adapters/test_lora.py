"""Serving an adapter computes what merging it into the weights computes."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from weir_inference.adapters.engines.torch.kv_cache import BLOCK_SIZE
from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.engines.torch.model_runner import ModelRunner
from weir_inference.adapters.engines.torch.peft_folder import read_peft_folder
from weir_inference.adapters.engines.torch.torch_engine import TorchSettings, load_runner
from weir_inference.core.request import Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.sequence import Sequence as TokenSequence
from weir_inference.core.step_plan import Slice
from weir_kit.errors import AlreadyExists, InvalidArgument, ModelNotFound, QueueFull

TOLERANCE = 1e-4
N_TOKENS = 26
CUTS = (0, 11, 12, 20, 25, 26)  # chunks of a prompt, and single tokens between


@pytest.fixture(params=["native", "torch"])
def kernels(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def runner_of(folder: Path, kernels: str) -> ModelRunner:
    config = ModelConfig.load(folder)
    settings = TorchSettings(dtype="fp32", kernels=kernels, kv_mb=4)
    return load_runner(folder, config, settings)[0]


def sequence_of(n: int, adapter: str | None) -> TokenSequence:
    generator = torch.Generator().manual_seed(n)
    ids = torch.randint(3, 97, (N_TOKENS,), generator=generator).tolist()
    sampling = Sampling(temperature=0.0, ignore_eos=True)
    return TokenSequence(Request(str(n), tuple(ids), 8, sampling, adapter=adapter), 0.0)


def logits_of(runner: ModelRunner, sequences: Sequence[TokenSequence]) -> list[Tensor]:
    """Through the paged path: each sequence is one cut behind the one before it."""
    blocks = -(-N_TOKENS // BLOCK_SIZE)
    parts: list[list[Tensor]] = [[] for _ in sequences]
    for step in range(len(CUTS) - 1 + len(sequences)):
        slices, owners = [], []
        for i, sequence in enumerate(sequences):
            cut = step - i
            if 0 <= cut < len(CUTS) - 1:
                ids = sequence.request.prompt_token_ids[CUTS[cut] : CUTS[cut + 1]]
                block_ids = [1 + i * blocks + b for b in range(blocks)]
                slices.append(Slice(sequence, CUTS[cut], ids, block_ids, False, 0))
                owners.append(i)
        if slices:
            logits = runner.logits(runner.hidden_states(slices)).clone()
            sizes = [len(one.token_ids) for one in slices]
            for i, mine in zip(owners, logits.split(sizes), strict=True):
                parts[i].append(mine)
    return [torch.cat(mine) for mine in parts]


@pytest.mark.parametrize("name", ["llama, biases", "qwen3", "mistral, sliding window"])
def test_a_batch_of_adapters_computes_what_each_merged_model_does(
    name: str, kernels: str, save_model: Any, save_adapter: Any, merged: Any
) -> None:
    folder, theirs = save_model(name)
    runner = runner_of(folder, kernels)
    adapters = {
        None: None,
        "all": save_adapter(theirs, 1),
        "some": save_adapter(theirs, 2, ["v_proj", "up_proj"], r=3, use_rslora=True),
        "ranked": save_adapter(
            theirs, 3, ["q_proj", "gate_proj"],
            rank_pattern={"q_proj": 7}, alpha_pattern={"q_proj": 2.5},
        ),
    }  # fmt: skip
    for adapter, source in adapters.items():
        if source is not None:
            runner.adapters.load(adapter, read_peft_folder(source, runner.config))
    wishes = ["all", None, "some", "all", "ranked", None]
    sequences = [sequence_of(n, adapter) for n, adapter in enumerate(wishes)]
    mixed = logits_of(runner, sequences)
    for sequence, logits in zip(sequences, mixed, strict=True):
        with merged(theirs, adapters[sequence.request.adapter]), torch.inference_mode():
            wanted = theirs(torch.tensor([sequence.request.prompt_token_ids])).logits[0]
        (alone,) = logits_of(runner, [sequence])
        assert (logits - wanted).abs().max().item() <= TOLERANCE
        assert (alone - wanted).abs().max().item() <= TOLERANCE


def test_the_scale_is_alpha_over_r_or_over_its_root(save_model: Any, save_adapter: Any) -> None:
    folder, theirs = save_model("llama")
    config = ModelConfig.load(folder)
    plain = read_peft_folder(save_adapter(theirs, 1), config)
    rooted = read_peft_folder(save_adapter(theirs, 1, use_rslora=True), config)
    for module, pair in plain.items():
        assert torch.allclose(pair.b * 2, rooted[module].b)  # alpha 6, r 4: 6 / 4 against 6 / 2


def test_loading_and_unloading_changes_the_next_step(save_model: Any, save_adapter: Any) -> None:
    folder, theirs = save_model("llama")
    runner = runner_of(folder, "torch")
    pairs = read_peft_folder(save_adapter(theirs, 1), runner.config)
    plain, tuned = sequence_of(0, None), sequence_of(0, "a")
    (before,) = logits_of(runner, [plain])
    loaded = runner.adapters.load("a", pairs)
    assert loaded.n_parameters == sum(p.a.numel() + p.b.numel() for p in pairs.values())
    (with_it,) = logits_of(runner, [tuned])
    assert (with_it - before).abs().max().item() > 0.1
    with pytest.raises(AlreadyExists):
        runner.adapters.load("a", pairs)
    runner.adapters.unload("a")
    assert torch.equal(logits_of(runner, [tuned])[0], before)
    with pytest.raises(ModelNotFound):
        runner.adapters.unload("a")
    with pytest.raises(ModelNotFound):
        runner.adapters.get("a")


def test_there_are_only_so_many_adapters(save_model: Any, save_adapter: Any) -> None:
    folder, theirs = save_model("llama")
    config = ModelConfig.load(folder)
    runner = load_runner(folder, config, TorchSettings(kv_mb=4, adapters_max=1))[0]
    pairs = read_peft_folder(save_adapter(theirs, 1), config)
    runner.adapters.load("a", pairs)
    with pytest.raises(QueueFull):
        runner.adapters.load("b", pairs)
    runner.adapters.unload("a")
    runner.adapters.load("b", pairs)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"peft_type": "LOHA"}, "peft_type"),
        ({"bias": "lora_only"}, "bias"),
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"something_new": {"a": 1}}, "something_new"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"rank_pattern": {"q_proj|k_proj": 8}}, "rank_pattern"),
        ({"r": 5}, r"is \[4, 48\], not \[5, 48\]"),
        ({"r": "4"}, "r and lora_alpha"),
        ({"layers_to_transform": "0"}, "layers_to_transform"),
    ],
)
def test_what_is_not_run_faithfully_is_refused_by_name(
    fields: dict[str, Any], told: str, save_model: Any, save_adapter: Any
) -> None:
    folder, theirs = save_model("llama")
    source = save_adapter(theirs, 1)
    raw = json.loads((source / "adapter_config.json").read_text()) | fields
    (source / "adapter_config.json").write_text(json.dumps(raw))
    with pytest.raises(InvalidArgument, match=told) as refused:
        read_peft_folder(source, ModelConfig.load(folder))
    assert refused.value.field == "source"


def test_weights_that_do_not_fit_are_refused_by_name(save_model: Any, save_adapter: Any) -> None:
    folder, theirs = save_model("llama")
    config = ModelConfig.load(folder)
    wider = dataclasses.replace(config, intermediate_size=96)
    source = save_adapter(theirs, 1)
    with pytest.raises(
        InvalidArgument, match=r"gate_proj\.lora_B\.weight is \[80, 4\], not \[96, 4\]"
    ):
        read_peft_folder(source, wider)
    with pytest.raises(InvalidArgument, match=r"may change: .*layers\.2\."):
        read_peft_folder(source, dataclasses.replace(config, n_layers=2))
    with pytest.raises(InvalidArgument, match=r"without weights: model\.layers\.3\."):
        read_peft_folder(source, dataclasses.replace(config, n_layers=4))
    (source / "adapter_model.safetensors").rename(source / "adapter_model.bin")
    with pytest.raises(InvalidArgument, match="pickled"):
        read_peft_folder(source, config)
    (source / "adapter_model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InvalidArgument, match="safetensors"):
        read_peft_folder(source, config)
    (source / "adapter_config.json").unlink()
    with pytest.raises(InvalidArgument, match="adapter_config"):
        read_peft_folder(source, config)


def test_weights_that_are_not_finite_are_refused(save_model: Any, save_adapter: Any) -> None:
    folder, theirs = save_model("llama")
    source = save_adapter(theirs, 1, lora_alpha=float("inf"))
    with pytest.raises(InvalidArgument, match="finite"):
        read_peft_folder(source, ModelConfig.load(folder))
