"""A LoRA adapter from a folder as PEFT writes it: read, checked against the model, scaled."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from weir_inference.adapters.engines.torch.checkpoint import wanted_shapes
from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.model_folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from weir_kit.errors import InvalidArgument

RANK_MAX = 256  # bounds an adapter's memory: the model's shape does the rest
CONFIG_BYTES_MAX = 1 << 20
PREFIX = "base_model.model."
NAMED_MAX = 4
MODULE = re.compile(r"\^?[\w.]+")

# What does not change how a trained adapter computes; any other field that says something is
# refused, so that what PEFT learns to do later is not silently left out.
WITHOUT_EFFECT = {
    "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config",
    "inference_mode", "loftq_config", "lora_dropout", "megatron_core", "peft_type", "peft_version",
    "qalora_group_size", "revision", "runtime_config", "task_type",
}  # fmt: skip
UNDERSTOOD = {
    "alpha_pattern", "bias", "init_lora_weights", "layers_to_transform", "lora_alpha", "r",
    "rank_pattern", "target_modules", "use_rslora",
}  # fmt: skip
# Other ways to begin (PiSSA, OLoRA, …) change the base model's weights, too.
BEGINNINGS = (True, False, None, "gaussian", "orthogonal", "eva")


@dataclass(frozen=True)
class LowRank:
    """What an adapter adds to one linear layer: b · a.

    a: [rank, n_in]; b: [n_out, rank], scaled.
    """

    a: Tensor
    b: Tensor


def read_peft_folder(folder: Path, config: ModelConfig) -> dict[str, LowRank]:
    """The adapter's pairs by the module they change, `model.layers.0.self_attn.q_proj`; fp32.

    Raises `InvalidArgument` (field `source`) naming what does not fit the model or is not run
    faithfully.
    """
    raw = _config(folder)
    file = folder / ADAPTER_WEIGHTS
    if not file.is_file():
        raise _refused(f"{folder.name} has no {ADAPTER_WEIGHTS}; pickled weights are not loaded")
    try:
        with safe_open(file, framework="pt") as opened:
            names = set(opened.keys())
            shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in names}
            ranks = _ranks(shapes, config, raw)
            return {
                module: _pair(
                    opened.get_tensor(f"{PREFIX}{module}.lora_A.weight"),
                    opened.get_tensor(f"{PREFIX}{module}.lora_B.weight"),
                    module,
                    _scale(module, rank, raw),
                )
                for module, rank in sorted(ranks.items())
            }
    except SafetensorError as error:
        raise _refused(f"{ADAPTER_WEIGHTS} is not a readable safetensors file") from error


def _config(folder: Path) -> dict[str, Any]:
    """Of `adapter_config.json`, once all that it asks for is known to be run."""
    try:
        with (folder / ADAPTER_CONFIG).open("rb") as file:
            raw = json.loads(file.read(CONFIG_BYTES_MAX))
    except (OSError, ValueError) as error:
        raise _refused(f"{ADAPTER_CONFIG} is not readable JSON") from error
    if not isinstance(raw, dict) or raw.get("peft_type") != "LORA":
        raise _refused(f"{ADAPTER_CONFIG}: peft_type is not LORA")
    if raw.get("bias", "none") != "none":
        raise _refused(f"{ADAPTER_CONFIG}: bias is {raw['bias']!r}; supported: none")
    if raw.get("init_lora_weights") not in BEGINNINGS:
        raise _refused(
            f"{ADAPTER_CONFIG}: init_lora_weights is {raw['init_lora_weights']!r}, which changes "
            "the base model; convert the adapter to plain LoRA"
        )
    more = sorted(k for k, v in raw.items() if v and k not in UNDERSTOOD | WITHOUT_EFFECT)
    if more:
        raise _refused(f"{ADAPTER_CONFIG}: {_some(more)}: not supported")
    for name in ("rank_pattern", "alpha_pattern"):
        pattern = raw.get(name) or {}
        if not isinstance(pattern, dict) or not all(map(MODULE.fullmatch, pattern)):
            raise _refused(f"{ADAPTER_CONFIG}: {name} is supported by names of modules only")
    layers = raw.get("layers_to_transform")
    if layers is not None and not all(isinstance(one, int) for one in _listed(layers)):
        raise _refused(f"{ADAPTER_CONFIG}: layers_to_transform must be numbers of layers")
    if not isinstance(raw.get("r"), int) or not isinstance(raw.get("lora_alpha"), int | float):
        raise _refused(f"{ADAPTER_CONFIG}: r and lora_alpha must be numbers")
    return raw


def _ranks(
    shapes: Mapping[str, tuple[int, ...]], config: ModelConfig, raw: Mapping[str, Any]
) -> dict[str, int]:
    """The rank of each module that has a pair; the pairs are whole and fit the model."""
    linears = {
        name.removesuffix(".weight"): shape
        for name, shape in wanted_shapes(config).items()
        if name.endswith("_proj.weight")
    }
    ranks: dict[str, int] = {}
    wanted: set[str] = set()
    for module, (n_out, n_in) in linears.items():
        a, b = (f"{PREFIX}{module}.lora_{letter}.weight" for letter in "AB")
        if a not in shapes and b not in shapes:
            continue
        wanted |= {a, b}
        rank = _rank(module, raw)
        for name, shape in ((a, (rank, n_in)), (b, (n_out, rank))):
            if shapes.get(name) != shape:
                found = list(shapes[name]) if name in shapes else "missing"
                raise _refused(f"{name} is {found}, not {list(shape)} as this model needs it")
        ranks[module] = rank
    if unexpected := sorted(shapes.keys() - wanted):
        raise _refused(f"not layers of this model that an adapter may change: {_some(unexpected)}")
    if absent := sorted(_targeted(linears, raw) - ranks.keys()):
        raise _refused(f"target_modules names layers without weights: {_some(absent)}")
    if not ranks:
        raise _refused("the adapter changes no layer")
    return ranks


def _targeted(linears: Mapping[str, object], raw: Mapping[str, Any]) -> set[str]:
    """The modules that a list in `target_modules` names.

    A regular expression there is not run (it could take for ever): the weights say what is changed.
    """
    targets, layers = raw.get("target_modules"), raw.get("layers_to_transform")
    if not isinstance(targets, list):
        return set()
    return {
        module
        for module in linears
        if any(_names(str(target), module) for target in targets)
        and (layers is None or int(module.split(".")[2]) in _listed(layers))
    }


def _rank(module: str, raw: Mapping[str, Any]) -> int:
    rank = _by_pattern(module, raw.get("rank_pattern"), raw["r"])
    if not isinstance(rank, int) or not 1 <= rank <= RANK_MAX:
        raise _refused(f"the rank of {module} is {rank!r}; supported: 1 to {RANK_MAX}")
    return rank


def _scale(module: str, rank: int, raw: Mapping[str, Any]) -> float:
    """alpha / r (Hu et al. 2021), or alpha / √r (Kalajdzievski 2023) with `use_rslora`."""
    alpha = float(_by_pattern(module, raw.get("alpha_pattern"), raw["lora_alpha"]))
    return alpha / math.sqrt(rank) if raw.get("use_rslora") else alpha / rank


def _by_pattern(module: str, pattern: Mapping[str, Any] | None, default: Any) -> Any:
    """What the first name of the pattern that fits says, as PEFT chooses it."""
    found = (value for name, value in (pattern or {}).items() if _names(name, module))
    return next(found, default)


def _names(name: str, module: str) -> bool:
    """Whether a name is the module's, or its last parts; with ^ before it, only the whole."""
    if name.startswith("^"):
        return module == name[1:]
    return module == name or module.endswith(f".{name}")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _pair(a: Tensor, b: Tensor, module: str, scale: float) -> LowRank:
    a, b = a.float(), b.float() * scale
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        raise _refused(f"{module}: weights that are not finite")
    return LowRank(a, b)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return ", ".join(names[:NAMED_MAX]) + more


def _refused(message: str) -> InvalidArgument:
    return InvalidArgument(message, field="source")
