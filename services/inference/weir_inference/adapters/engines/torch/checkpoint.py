"""Weights from safetensors files into a model, each held once."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from weir_inference.adapters.engines.torch.model import LlamaModel, rope_inv_freq
from weir_inference.adapters.engines.torch.model_config import ModelConfig, UnsupportedModel

INDEX = "model.safetensors.index.json"
LM_HEAD = "lm_head.weight"
RECOMPUTED = "rotary_emb.inv_freq"  # old checkpoints carry it; it follows from the config
NAMED_MAX = 8


class BadCheckpoint(ValueError):
    """The weights do not fit the model that config.json describes."""


def load_model(
    folder: Path, config: ModelConfig, dtype: torch.dtype, device: torch.device
) -> LlamaModel:
    """The model of a Hugging Face folder, ready to run.

    It is laid out without memory first, then given the files' tensors: on a CPU, tensors already in
    `dtype` stay in the page cache and are not copied. Raises `BadCheckpoint` naming tensors that
    are missing, unexpected or of another shape, and `UnsupportedModel` for pickled weights.
    """
    with torch.device("meta"):
        model = LlamaModel(config)
    wanted = {name: parameter.shape for name, parameter in model.named_parameters()}
    weights: dict[str, Tensor] = {}
    unexpected: list[str] = []
    for file in weight_files(folder):
        for name, tensor in _tensors(file, device):
            if name in wanted:
                weights[name] = tensor.to(dtype)
            elif not (name.endswith(RECOMPUTED) or (name == LM_HEAD and config.tie_embeddings)):
                unexpected.append(name)
    _check(folder, wanted, weights, unexpected)
    model.load_state_dict(weights, strict=False, assign=True)
    if config.tie_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight
    model.register_buffer("inv_freq", rope_inv_freq(config).to(device), persistent=False)
    assert not any(tensor.is_meta for tensor in model.state_dict().values())
    return model.requires_grad_(False).eval()


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold the weights: all that the index names, or the single one."""
    index = folder / INDEX
    if index.exists():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        if any(Path(name).name != name for name in names):
            raise BadCheckpoint(f"{index}: weight files must lie in the model's own folder")
        files = [folder / name for name in names]
    else:
        files = sorted(folder.glob("*.safetensors"))
    absent = [file.name for file in files if not file.exists()]
    if absent:
        raise BadCheckpoint(f"{folder}: weight files are missing: {_some(absent)}")
    if not files:
        if any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
            raise UnsupportedModel(
                f"{folder}: the weights are pickled (*.bin, *.pt), and loading a pickle can run "
                "any code; convert them to safetensors"
            )
        raise BadCheckpoint(f"{folder}: no *.safetensors file")
    return files


def _tensors(file: Path, device: torch.device) -> Iterator[tuple[str, Tensor]]:
    try:
        with safe_open(file, framework="pt", device=str(device)) as opened:
            for name in opened.keys():  # noqa: SIM118 - not a mapping
                yield name, opened.get_tensor(name)
    except SafetensorError as error:
        raise BadCheckpoint(f"{file}: not a readable safetensors file ({error})") from error


def _check(
    folder: Path, wanted: dict[str, torch.Size], weights: dict[str, Tensor], unexpected: list[str]
) -> None:
    missing = sorted(wanted.keys() - weights.keys())
    shapes = [
        f"{name} is {list(weights[name].shape)}, not {list(shape)}"
        for name, shape in wanted.items()
        if name in weights and weights[name].shape != shape
    ]
    faults = {"missing": missing, "unexpected": sorted(unexpected), "misshapen": shapes}
    told = [f"{kind}: {_some(names)}" for kind, names in faults.items() if names]
    if told:
        raise BadCheckpoint(f"{folder}: the weights do not fit config.json; {'; '.join(told)}")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return ", ".join(names[:NAMED_MAX]) + more
