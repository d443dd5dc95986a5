"""Small random models, written by transformers as it writes every model."""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file

from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.engines.torch.peft_folder import read_peft_folder

# Triton interprets kernels that it is imported for with this set, and transformers imports it too.
with pytest.MonkeyPatch.context() as environ, contextlib.suppress(ImportError):
    environ.setenv("TRITON_INTERPRET", "1")
    from weir_inference.adapters.engines.torch.cuda import backend  # noqa: F401

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "eos_token_id": 2,
    "bos_token_id": 1,
    "pad_token_id": 0,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LINEAR_ROPE = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}

Saved = tuple[Path, Any]
SaveModel = Callable[..., Saved]

# Of a layer: all that an adapter can change.
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

# name → (transformers' class name, what differs from SHAPE)
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama, tied": ("Llama", {"tie_word_embeddings": True}),
    "llama, llama3 rope": ("Llama", {"rope_parameters": LLAMA3_ROPE}),
    "llama, linear rope": ("Llama", {"rope_parameters": LINEAR_ROPE}),
    "llama, biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "mistral, sliding window": ("Mistral", {"sliding_window": 21, "head_dim": 16}),
    "qwen2": ("Qwen2", {}),
    "qwen2, tied": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
}


@pytest.fixture
def save_model(tmp_path: Path) -> SaveModel:
    """`save_model("llama")` → its folder and the transformers model, fp32, with random weights."""

    def save(name: str, **saving: Any) -> Saved:
        family, changes = MODELS[name]
        torch.manual_seed(5)
        config = getattr(transformers, f"{family}Config")(**{**SHAPE, **changes})
        model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
        for parameter in model.parameters():  # far from their first values: norms 1, biases 0
            torch.nn.init.normal_(parameter, mean=0.02, std=0.15)
        folder = tmp_path / "model"
        model.save_pretrained(folder, **saving)
        return folder, model

    return save


@pytest.fixture(params=MODELS)
def any_model(request: pytest.FixtureRequest, save_model: SaveModel) -> Saved:
    """Each of the models in turn."""
    return save_model(request.param)


@pytest.fixture
def save_adapter(tmp_path: Path) -> Callable[..., Path]:
    """`save_adapter(model, 1, ["q_proj"], r=8)` → a random LoRA adapter as PEFT writes it."""

    def save(model: Any, seed: int, targets: Sequence[str] = LINEARS, **fields: Any) -> Path:
        usual = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "bias": "none",
            "init_lora_weights": True,
            "inference_mode": True,
            "lora_dropout": 0.05,
            "megatron_core": "megatron.core",
            "modules_to_save": None,
            "use_dora": False,
            "use_rslora": False,
            "r": 4,
            "lora_alpha": 6,
            "target_modules": list(targets),
        }
        raw = usual | fields
        folder = tmp_path / f"adapter-{seed}"
        folder.mkdir(exist_ok=True)
        (folder / "adapter_config.json").write_text(json.dumps(raw))
        generator = torch.Generator().manual_seed(seed)
        tensors = {}
        for name, linear in model.named_modules():
            if name.endswith(tuple(targets)):
                rank = raw.get("rank_pattern", {}).get(name.rsplit(".", 1)[1], raw["r"])
                prefix = f"base_model.model.{name}.lora"
                a = torch.randn(rank, linear.in_features, generator=generator)
                b = torch.randn(linear.out_features, rank, generator=generator)
                tensors[f"{prefix}_A.weight"], tensors[f"{prefix}_B.weight"] = a * 0.1, b * 0.1
        save_file(tensors, folder / "adapter_model.safetensors")
        return folder

    return save


@pytest.fixture
def merged() -> Callable[[Any, Path | None], AbstractContextManager[None]]:
    """`with merged(model, adapter_folder):` the adapter is part of the model's weights."""

    @contextmanager
    def merge(model: Any, folder: Path | None) -> Iterator[None]:
        config = ModelConfig.from_dict(model.config.to_dict())
        pairs = {} if folder is None else read_peft_folder(folder, config)
        linears = {name: model.get_submodule(name) for name in pairs}
        before = {name: linear.weight.detach().clone() for name, linear in linears.items()}
        with torch.no_grad():
            for name, pair in pairs.items():
                linears[name].weight += pair.b @ pair.a
        yield
        with torch.no_grad():
            for name, weight in before.items():
                linears[name].weight.copy_(weight)

    return merge
