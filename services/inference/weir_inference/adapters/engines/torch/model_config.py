"""What a Hugging Face `config.json` of a Llama-architecture model says."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}


# Half precision is served as bf16: as small, and the one that CPUs compute in.
DTYPES = {"bfloat16": "bf16", "float16": "bf16", "float32": "fp32"}


class UnsupportedModel(ValueError):
    """The model folder asks for something that the torch engine does not do."""


@dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the length trained on.

    `kind` is `default`, `linear` or `llama3`; the other fields are those of the kind.
    """

    kind: str = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_positions: int = 0


@dataclass(frozen=True)
class ModelConfig:
    """The shape of one Llama-architecture model; `dtype` is `bf16` or `fp32`, as its weights."""

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    max_positions: int
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling = RopeScaling()
    tie_embeddings: bool = False
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    sliding_window: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    bos_token_id: int | None = None
    dtype: str = "fp32"

    @property
    def width_q(self) -> int:
        """Columns of the queries of a token."""
        return self.n_heads * self.head_dim

    @property
    def width_kv(self) -> int:
        """Columns of the keys, and of the values, of a token."""
        return self.n_kv_heads * self.head_dim

    @classmethod
    def load(cls, folder: Path) -> "ModelConfig":
        """Read `config.json` and, for the stop tokens, `generation_config.json`.

        Raises `UnsupportedModel`, naming the field, for what the engine cannot run faithfully.
        """
        raw: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        generation_file = folder / "generation_config.json"
        if generation_file.exists():
            generation = json.loads(generation_file.read_text(encoding="utf-8"))
            raw = raw | {k: v for k, v in generation.items() if k == "eos_token_id"}
        return cls.from_dict(raw)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "ModelConfig":
        """Read a `config.json`'s fields, old style (`rope_scaling`) or new (`rope_parameters`)."""
        names = raw.get("architectures") or ["(none)"]
        architecture = ARCHITECTURES.get(names[0])
        if architecture is None:
            raise UnsupportedModel(
                f"config.json: architectures is {names[0]!r}; supported: {', '.join(ARCHITECTURES)}"
            )
        if raw.get("hidden_act", "silu") not in ("silu", "swish"):
            raise UnsupportedModel(
                f"config.json: hidden_act is {raw['hidden_act']!r}; supported: silu"
            )
        if raw.get("quantization_config"):
            raise UnsupportedModel("config.json: quantization_config; supported: plain weights")
        attention_bias = bool(raw.get("attention_bias", False))
        n_heads = int(raw["num_attention_heads"])
        rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
        return cls(
            architecture=architecture,
            vocab_size=int(raw["vocab_size"]),
            hidden_size=int(raw["hidden_size"]),
            intermediate_size=int(raw["intermediate_size"]),
            n_layers=int(raw["num_hidden_layers"]),
            n_heads=n_heads,
            n_kv_heads=int(raw.get("num_key_value_heads") or n_heads),
            head_dim=int(raw.get("head_dim") or raw["hidden_size"] // n_heads),
            max_positions=int(raw.get("max_position_embeddings", 2048)),
            rms_norm_eps=float(raw.get("rms_norm_eps", 1e-6)),
            rope_theta=float(rope.get("rope_theta") or raw.get("rope_theta") or 10_000.0),
            rope_scaling=_rope_scaling(rope),
            tie_embeddings=bool(raw.get("tie_word_embeddings", False)),
            qkv_bias=architecture == "qwen2" or attention_bias,
            o_bias=attention_bias,
            mlp_bias=bool(raw.get("mlp_bias", False)),
            qk_norm=architecture == "qwen3",
            sliding_window=_sliding_window(architecture, raw),
            eos_token_ids=_token_ids(raw.get("eos_token_id")),
            bos_token_id=raw.get("bos_token_id"),
            dtype=_dtype(raw),
        )


def _rope_scaling(rope: dict[str, Any]) -> RopeScaling:
    if float(rope.get("partial_rotary_factor") or 1.0) != 1.0:
        raise UnsupportedModel("config.json: partial_rotary_factor is not 1; supported: 1")
    kind = str(rope.get("rope_type") or rope.get("type") or "default")
    if kind == "default":
        return RopeScaling()
    if kind == "linear":
        return RopeScaling("linear", factor=float(rope["factor"]))
    if kind == "llama3":
        return RopeScaling(
            "llama3",
            factor=float(rope["factor"]),
            low_freq_factor=float(rope["low_freq_factor"]),
            high_freq_factor=float(rope["high_freq_factor"]),
            original_max_positions=int(rope["original_max_position_embeddings"]),
        )
    raise UnsupportedModel(
        f"config.json: rope type is {kind!r}; supported: default, linear, llama3"
    )


def _sliding_window(architecture: str, raw: dict[str, Any]) -> int | None:
    """Mistral's window always holds; Qwen's only where `use_sliding_window` says so."""
    window = raw.get("sliding_window")
    if window is None or architecture == "llama":
        return None
    if architecture.startswith("qwen"):
        if not raw.get("use_sliding_window", False):
            return None
        raise UnsupportedModel(
            "config.json: use_sliding_window is true; supported for Mistral only"
        )
    return int(window)


def _token_ids(value: int | list[int] | None) -> tuple[int, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else tuple(value)


def _dtype(raw: dict[str, Any]) -> str:
    name = str(raw.get("dtype") or raw.get("torch_dtype") or "float32")
    if name not in DTYPES:
        raise UnsupportedModel(f"config.json: dtype is {name!r}; supported: {', '.join(DTYPES)}")
    return DTYPES[name]
