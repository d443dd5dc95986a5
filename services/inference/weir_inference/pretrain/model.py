"""A decoder to train: parameters under the names of the Hugging Face checkpoints."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from weir_inference.adapters.engines.torch.decoder import CausalAttend, Rope, decode
from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.engines.torch.ops import TorchOps
from weir_inference.adapters.engines.torch.weights import (
    DecoderWeights,
    DenseMatrix,
    LayerWeights,
    fused,
)


class Norm(nn.Module):
    """The weight of a root-mean-square norm."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))


class Attention(nn.Module):
    """The projections of grouped-query attention, optional biases and QK-norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width_q, width_kv = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, width_q, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, width_kv, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, width_kv, bias=config.qkv_bias)
        self.o_proj = nn.Linear(width_q, config.hidden_size, bias=config.o_bias)
        self.q_norm = Norm(config.head_dim) if config.qk_norm else None
        self.k_norm = Norm(config.head_dim) if config.qk_norm else None


class MLP(nn.Module):
    """The gated feed-forward layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gate_proj = nn.Linear(hidden, inner, bias=bias)
        self.up_proj = nn.Linear(hidden, inner, bias=bias)
        self.down_proj = nn.Linear(inner, hidden, bias=bias)


class Layer(nn.Module):
    """One decoder layer, pre-norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = Norm(config.hidden_size)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = Norm(config.hidden_size)
        self.mlp = MLP(config)

    def weights(self) -> LayerWeights:
        """What the forward pass takes; gradients flow through."""
        attention, mlp = self.self_attn, self.mlp
        return LayerWeights(
            attention_norm=self.input_layernorm.weight,
            qkv=_fused(attention.q_proj, attention.k_proj, attention.v_proj),
            q_norm=None if attention.q_norm is None else attention.q_norm.weight,
            k_norm=None if attention.k_norm is None else attention.k_norm.weight,
            o=_fused(attention.o_proj),
            mlp_norm=self.post_attention_layernorm.weight,
            gate_up=_fused(mlp.gate_proj, mlp.up_proj),
            down=_fused(mlp.down_proj),
        )


class Decoder(nn.Module):
    """Embeddings, layers and the last norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))
        self.norm = Norm(config.hidden_size)


class LlamaModel(nn.Module):
    """A decoder with its language-model head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        """ids: [sequences, positions] int64 → logits [sequences · positions, vocab]."""
        n_sequences, n_positions = ids.shape
        ops, weights = TorchOps(), self.weights()
        rope = Rope.of(self.config, n_positions).to(ids.device)
        attend = CausalAttend(self.config, ops, rope, n_sequences, n_positions)
        x = ops.embed(weights.embedding, ids.reshape(-1))
        hidden = decode(weights, ops, x, attend, self.config.rms_norm_eps)
        return ops.linear(hidden, weights.lm_head)

    def _layers(self) -> Iterator[Layer]:
        for layer in self.model.layers:
            assert isinstance(layer, Layer)
            yield layer

    def weights(self) -> DecoderWeights:
        """What the forward pass takes; gradients flow through."""
        return DecoderWeights(
            embedding=DenseMatrix(self.model.embed_tokens.weight),
            layers=tuple(layer.weights() for layer in self._layers()),
            norm=self.model.norm.weight,
            lm_head=DenseMatrix(self.lm_head.weight),
        )


def _fused(*linears: nn.Linear) -> DenseMatrix:
    if len(linears) == 1:
        return DenseMatrix(linears[0].weight, linears[0].bias)
    return fused([linear.weight for linear in linears], [linear.bias for linear in linears])
