"""The forward pass of a Llama-architecture decoder: one for serving, training and explaining.

Tokens are ragged: every tensor's first axis is the token, whatever request it belongs to. What a
token attends to is the caller's: paged attention when serving, plain causal attention otherwise.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.engines.torch.ops import Ops
from weir_inference.adapters.engines.torch.weights import DecoderWeights, LayerWeights


class Attend(Protocol):
    """Attention of one layer over what the caller knows of each token's past."""

    def __call__(self, layer: int, qkv: Tensor, weights: LayerWeights) -> Tensor:
        """qkv: [tokens, (heads + 2 kv_heads) · head_dim] → [tokens, heads · head_dim]."""
        ...


class Adapt(Protocol):
    """What LoRA adapters add to a layer's matrix products."""

    def __call__(self, layer: int, part: str, x: Tensor, addend: Tensor | None) -> Tensor | None:
        """The addend and what the adapters make of `x` [tokens, n_in]; it may be written over.

        `part` names the matrix: `qkv`, `o`, `gate_up` or `down`.
        """
        ...


def unadapted(layer: int, part: str, x: Tensor, addend: Tensor | None) -> Tensor | None:
    """An `Adapt` without adapters."""
    del layer, part, x
    return addend


def decode(
    weights: DecoderWeights,
    ops: Ops,
    x: Tensor,
    attend: Attend,
    eps: float,
    adapt: Adapt = unadapted,
) -> Tensor:
    """Embedded tokens through all layers and the last norm: [tokens, hidden] → same."""
    for i, layer in enumerate(weights.layers):
        x = decode_layer(i, layer, ops, x, attend, eps, adapt)
    return ops.norm(x, weights.norm, eps)


def decode_layer(
    i: int, layer: LayerWeights, ops: Ops, x: Tensor, attend: Attend, eps: float, adapt: Adapt
) -> Tensor:
    """Layer number `i`: [tokens, hidden] → same."""
    h = ops.norm(x, layer.attention_norm, eps)
    qkv = ops.linear(h, layer.qkv, adapt(i, "qkv", h, None))
    mixed = attend(i, qkv, layer)
    x = ops.linear(mixed, layer.o, adapt(i, "o", mixed, x))
    h = ops.norm(x, layer.mlp_norm, eps)
    h = ops.gated(h, layer.gate_up, adapt(i, "gate_up", h, None))
    return ops.linear(h, layer.down, adapt(i, "down", h, x))


@dataclass(frozen=True)
class Rope:
    """Cosine and sine of every rotary angle (Su et al. 2021): [positions, head_dim / 2] fp32."""

    cos: Tensor
    sin: Tensor

    @classmethod
    def of(cls, config: ModelConfig, n_positions: int) -> "Rope":
        """The tables of positions 0 to `n_positions` - 1."""
        angles = torch.arange(n_positions).float().unsqueeze(-1) * _inv_freq(config)
        return cls(angles.cos(), angles.sin())

    def to(self, device: torch.device) -> "Rope":
        """The same on a device."""
        return Rope(self.cos.to(device), self.sin.to(device))

    def at(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Those of some positions: [tokens, 1, head_dim / 2] each."""
        cos, sin = self.cos[positions], self.sin[positions]
        return cos.unsqueeze(1).to(dtype), sin.unsqueeze(1).to(dtype)


def rotated_heads(
    qkv: Tensor,
    layer: LayerWeights,
    config: ModelConfig,
    rope: tuple[Tensor, Tensor],
    ops: Ops,
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values by head, normed and rotated: [tokens, heads, head_dim] each."""
    heads = qkv.view(qkv.shape[0], -1, config.head_dim)
    first_value = config.n_heads + config.n_kv_heads
    q, k, v = (
        heads[:, : config.n_heads],
        heads[:, config.n_heads : first_value],
        heads[:, first_value:],
    )
    if layer.q_norm is not None and layer.k_norm is not None:
        q = ops.norm(q, layer.q_norm, config.rms_norm_eps)
        k = ops.norm(k, layer.k_norm, config.rms_norm_eps)
    return _rotate(q, rope), _rotate(k, rope), v


class CausalAttend:
    """Plain causal attention over equally long sequences laid end to end, differentiable."""

    def __init__(
        self, config: ModelConfig, ops: Ops, rope: Rope, n_sequences: int, n_positions: int
    ) -> None:
        self._config = config
        self._ops = ops
        self._rope = rope
        self._n_sequences = n_sequences
        device = rope.cos.device
        position = torch.arange(n_positions, device=device)
        self._positions = position.repeat(n_sequences)
        self._mask: Tensor | None = None
        if config.sliding_window is not None:
            ahead = position.unsqueeze(1) - position
            self._mask = (ahead >= 0) & (ahead < config.sliding_window)

    def __call__(self, layer: int, qkv: Tensor, weights: LayerWeights) -> Tensor:
        """See `Attend`."""
        del layer
        rope = self._rope.at(self._positions, qkv.dtype)
        q, k, v = (
            x.reshape(self._n_sequences, -1, *x.shape[1:]).transpose(1, 2)
            for x in rotated_heads(qkv, weights, self._config, rope, self._ops)
        )
        mixed = F.scaled_dot_product_attention(
            q, k, v, attn_mask=self._mask, is_causal=self._mask is None, enable_gqa=True
        )
        return mixed.transpose(1, 2).flatten(0, 1).flatten(1)


def _rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Apply rotary positions in the half-split layout of the Hugging Face checkpoints."""
    cos, sin = rope
    left, right = x.chunk(2, dim=-1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)


def _inv_freq(config: ModelConfig) -> Tensor:
    """Rotary frequencies in radians per position, stretched by `rope_scaling`: [head_dim / 2]."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.int64).float() / config.head_dim
    inv_freq = 1.0 / (config.rope_theta**exponents)
    scaling = config.rope_scaling
    if scaling.kind == "linear":
        return inv_freq / scaling.factor
    if scaling.kind == "llama3":
        return _llama3_inv_freq(inv_freq, config)
    return inv_freq


def _llama3_inv_freq(inv_freq: Tensor, config: ModelConfig) -> Tensor:
    """Keep high frequencies, stretch low ones, blend between (Llama 3.1 model card, §RoPE)."""
    scaling = config.rope_scaling
    turns = scaling.original_max_positions * inv_freq / (2 * math.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    keep = ((turns - low) / (high - low)).clamp(0.0, 1.0)
    return inv_freq * (keep + (1.0 - keep) / scaling.factor)
