"""Small random models, written by transformers as it writes every model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

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
