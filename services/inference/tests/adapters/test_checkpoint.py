"""Weights load whole or not at all, and the error names the tensor."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from weir_inference.adapters.engines.torch.backend import TorchBackend
from weir_inference.adapters.engines.torch.checkpoint import (
    BadCheckpoint,
    load_weights,
    n_parameters,
)
from weir_inference.adapters.engines.torch.model_config import ModelConfig, UnsupportedModel
from weir_inference.adapters.engines.torch.weights import DecoderWeights

SaveModel = Callable[..., tuple[Path, Any]]
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def load(folder: Path) -> DecoderWeights:
    config = ModelConfig.load(folder)
    backend = TorchBackend(config, torch.float32, torch.device("cpu"), "none")
    return load_weights(folder, config, backend)


def test_sharded_weights_load_as_the_index_says(save_model: SaveModel) -> None:
    folder, theirs = save_model("qwen2", max_shard_size="60KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    ours = load(folder)
    for layer, their in zip(ours.layers, theirs.model.layers, strict=True):
        attention = their.self_attn
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        assert torch.equal(layer.qkv.dense(), torch.cat([one.weight for one in projections]))
        assert layer.qkv.bias is not None
        assert torch.equal(layer.qkv.bias, torch.cat([one.bias for one in projections]))
        assert torch.equal(layer.down.dense(), their.mlp.down_proj.weight)


def test_tied_embeddings_are_held_once(save_model: SaveModel) -> None:
    folder, theirs = save_model("llama, tied")
    assert "lm_head.weight" not in load_file(folder / WEIGHTS)
    weights = load(folder)
    assert weights.lm_head is weights.embedding
    n_theirs = sum(parameter.numel() for parameter in theirs.parameters())
    assert n_parameters(ModelConfig.load(folder)) == n_theirs


def test_missing_and_unexpected_tensors_are_named(save_model: SaveModel) -> None:
    folder, _ = save_model("llama")
    weights = load_file(folder / WEIGHTS)
    weights["model.extra.weight"] = weights.pop("model.norm.weight").clone()
    save_file(weights, folder / WEIGHTS)
    with pytest.raises(BadCheckpoint, match=r"missing: model\.norm\.weight") as refused:
        load(folder)
    assert "unexpected: model.extra.weight" in str(refused.value)


def test_a_misshapen_tensor_is_named_with_both_shapes(save_model: SaveModel) -> None:
    folder, _ = save_model("llama")
    weights = load_file(folder / WEIGHTS)
    weights["model.norm.weight"] = torch.ones(7)
    save_file(weights, folder / WEIGHTS)
    with pytest.raises(BadCheckpoint, match=r"model\.norm\.weight is \[7\], not \[48\]"):
        load(folder)


def test_a_missing_shard_is_named(save_model: SaveModel) -> None:
    folder, _ = save_model("llama", max_shard_size="60KB")
    shard = sorted(folder.glob("*.safetensors"))[0]
    shard.unlink()
    with pytest.raises(BadCheckpoint, match=shard.name):
        load(folder)


def test_an_index_cannot_point_outside_the_folder(save_model: SaveModel) -> None:
    folder, _ = save_model("llama")
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": "../secret.safetensors"}}))
    with pytest.raises(BadCheckpoint, match="own folder"):
        load(folder)


def test_pickled_weights_are_refused(save_model: SaveModel) -> None:
    folder, _ = save_model("llama")
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    with pytest.raises(UnsupportedModel, match="pickle"):
        load(folder)


def test_a_broken_file_is_named(save_model: SaveModel) -> None:
    folder, _ = save_model("llama")
    (folder / WEIGHTS).write_bytes(b"not weights")
    with pytest.raises(BadCheckpoint, match=WEIGHTS):
        load(folder)
