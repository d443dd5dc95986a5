"""Weights from safetensors files, one tensor at a time, so that none is ever held twice."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from weir_inference.adapters.engines.torch.backend import Backend, Part
from weir_inference.adapters.engines.torch.model_config import ModelConfig, UnsupportedModel
from weir_inference.adapters.engines.torch.weights import DecoderWeights, LayerWeights, Matrix

INDEX = "model.safetensors.index.json"
EMBEDDING = "model.embed_tokens.weight"
NORM = "model.norm.weight"
LM_HEAD = "lm_head.weight"
RECOMPUTED = "rotary_emb.inv_freq"  # old checkpoints carry it; it follows from the config
NAMED_MAX = 8


class BadCheckpoint(ValueError):
    """The weights do not fit the model that config.json describes."""


def load_weights(folder: Path, config: ModelConfig, backend: Backend) -> DecoderWeights:
    """The weights of a Hugging Face folder, each read once and put where it is used from.

    Raises `BadCheckpoint` naming tensors that are missing, unexpected or of another shape, and
    `UnsupportedModel` for pickled weights.
    """
    files = _check(folder, config)

    def tensor(name: str) -> Tensor:
        with safe_open(files[name], framework="pt") as opened:
            read: Tensor = opened.get_tensor(name)
        return read

    def parts(*prefixes: str) -> Iterator[Part]:
        for prefix in prefixes:
            bias = f"{prefix}.bias"
            yield tensor(f"{prefix}.weight"), tensor(bias) if bias in files else None

    def layer(i: int) -> LayerWeights:
        at = f"model.layers.{i}"
        attention, mlp = f"{at}.self_attn", f"{at}.mlp"
        qkv = parts(*(f"{attention}.{name}_proj" for name in "qkv"))
        norms = [backend.vector(tensor(f"{attention}.{n}.weight")) for n in _qk_norms(config)]
        q_norm, k_norm = norms or (None, None)
        return LayerWeights(
            attention_norm=backend.vector(tensor(f"{at}.input_layernorm.weight")),
            qkv=backend.matrix(qkv, (config.width_q, config.width_kv, config.width_kv)),
            q_norm=q_norm,
            k_norm=k_norm,
            o=backend.matrix(parts(f"{attention}.o_proj"), (config.hidden_size,)),
            mlp_norm=backend.vector(tensor(f"{at}.post_attention_layernorm.weight")),
            gate_up=backend.matrix(
                parts(f"{mlp}.gate_proj", f"{mlp}.up_proj"),
                (config.intermediate_size,) * 2,
                gated=True,
            ),
            down=backend.matrix(parts(f"{mlp}.down_proj"), (config.hidden_size,)),
        )

    # The largest tensor first: beside it and its file's pages nothing else is held yet.
    embedding: Matrix = backend.matrix(iter([(tensor(EMBEDDING), None)]), (config.vocab_size,))
    lm_head = embedding
    if not config.tie_embeddings:
        lm_head = backend.matrix(iter([(tensor(LM_HEAD), None)]), (config.vocab_size,))
    return DecoderWeights(
        embedding=embedding,
        layers=tuple(layer(i) for i in range(config.n_layers)),
        norm=backend.vector(tensor(NORM)),
        lm_head=lm_head,
    )


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


def wanted_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """All tensors of a checkpoint by name."""
    hidden, inner = config.hidden_size, config.intermediate_size
    linears = {
        "self_attn.q_proj": (config.width_q, hidden, config.qkv_bias),
        "self_attn.k_proj": (config.width_kv, hidden, config.qkv_bias),
        "self_attn.v_proj": (config.width_kv, hidden, config.qkv_bias),
        "self_attn.o_proj": (hidden, config.width_q, config.o_bias),
        "mlp.gate_proj": (inner, hidden, config.mlp_bias),
        "mlp.up_proj": (inner, hidden, config.mlp_bias),
        "mlp.down_proj": (hidden, inner, config.mlp_bias),
    }
    one: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
        **{f"self_attn.{name}.weight": (config.head_dim,) for name in _qk_norms(config)},
    }
    for name, (n_out, n_in, bias) in linears.items():
        one[f"{name}.weight"] = (n_out, n_in)
        if bias:
            one[f"{name}.bias"] = (n_out,)
    wanted: dict[str, tuple[int, ...]] = {
        EMBEDDING: (config.vocab_size, hidden),
        NORM: (hidden,),
    }
    if not config.tie_embeddings:
        wanted[LM_HEAD] = (config.vocab_size, hidden)
    for i in range(config.n_layers):
        wanted |= {f"model.layers.{i}.{name}": shape for name, shape in one.items()}
    return wanted


def n_parameters(config: ModelConfig) -> int:
    """Numbers in all tensors."""
    return sum(math.prod(shape) for shape in wanted_shapes(config).values())


def _qk_norms(config: ModelConfig) -> tuple[str, ...]:
    return ("q_norm", "k_norm") if config.qk_norm else ()


def _check(folder: Path, config: ModelConfig) -> dict[str, Path]:
    """The file of each wanted tensor, from the files' headers alone."""
    wanted = wanted_shapes(config)
    files: dict[str, Path] = {}
    unexpected, misshapen = [], []
    for file in weight_files(folder):
        for name, shape in _shapes(file):
            if name in wanted:
                files[name] = file
                if shape != wanted[name]:
                    misshapen.append(f"{name} is {list(shape)}, not {list(wanted[name])}")
            elif not (name.endswith(RECOMPUTED) or (name == LM_HEAD and config.tie_embeddings)):
                unexpected.append(name)
    missing = sorted(wanted.keys() - files.keys())
    faults = {"missing": missing, "unexpected": sorted(unexpected), "misshapen": misshapen}
    told = [f"{kind}: {_some(names)}" for kind, names in faults.items() if names]
    if told:
        raise BadCheckpoint(f"{folder}: the weights do not fit config.json; {'; '.join(told)}")
    return files


def _shapes(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    try:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a mapping
                yield name, tuple(opened.get_slice(name).get_shape())
    except SafetensorError as error:
        raise BadCheckpoint(f"{file}: not a readable safetensors file ({error})") from error


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return ", ".join(names[:NAMED_MAX]) + more
