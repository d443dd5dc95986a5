"""The weights of a decoder as the forward pass wants them: fused, and held once."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Matrix(Protocol):
    """Weights [n_out, n_in] of a linear layer and its bias, in whatever form is fast."""

    @property
    def n_out(self) -> int:
        """Outputs; of a gated matrix those of gate and up together."""
        ...

    @property
    def n_columns(self) -> int:
        """Columns of an addend: the outputs, and what the form puts between them."""
        ...

    @property
    def n_bytes(self) -> int:
        """Memory held."""
        ...

    def columns(self) -> Tensor:
        """The column of an addend that each output stands in: [n_out] int64."""
        ...

    def rows(self, ids: Tensor) -> Tensor:
        """Some of the weights. ids: [n] int64 → [n, n_in]."""
        ...

    def dense(self) -> Tensor:
        """All weights, made anew if they are held otherwise: [n_out, n_in]; no bias."""
        ...

    @property
    def bias(self) -> Tensor | None:
        """[n_out]."""
        ...


@dataclass(frozen=True)
class LayerWeights:
    """One decoder layer.

    `qkv` has the rows of queries, keys and values one after the other, `gate_up` those of gate and
    up. `q_norm` and `k_norm` are [head_dim].
    """

    attention_norm: Tensor
    qkv: Matrix
    q_norm: Tensor | None
    k_norm: Tensor | None
    o: Matrix
    mlp_norm: Tensor
    gate_up: Matrix
    down: Matrix


@dataclass(frozen=True)
class DecoderWeights:
    """All of a decoder. Tied embeddings are one matrix in two places."""

    embedding: Matrix
    layers: tuple[LayerWeights, ...]
    norm: Tensor
    lm_head: Matrix

    @property
    def n_bytes(self) -> int:
        """Memory held by the matrices."""
        matrices = {id(self.embedding): self.embedding, id(self.lm_head): self.lm_head}
        for layer in self.layers:
            for matrix in (layer.qkv, layer.o, layer.gate_up, layer.down):
                matrices[id(matrix)] = matrix
        return sum(matrix.n_bytes for matrix in matrices.values())


@dataclass(frozen=True)
class DenseMatrix:
    """A `Matrix` as one plain tensor, on any device; differentiable."""

    weight: Tensor
    bias: Tensor | None = None

    @property
    def n_out(self) -> int:
        """See `Matrix`."""
        return self.weight.shape[0]

    @property
    def n_columns(self) -> int:
        """See `Matrix`."""
        return self.n_out

    @property
    def n_bytes(self) -> int:
        """See `Matrix`."""
        return self.weight.nbytes

    def columns(self) -> Tensor:
        """See `Matrix`."""
        return torch.arange(self.n_out, device=self.weight.device)

    def rows(self, ids: Tensor) -> Tensor:
        """See `Matrix`."""
        return F.embedding(ids, self.weight)

    def dense(self) -> Tensor:
        """See `Matrix`."""
        return self.weight


def fused(weights: list[Tensor], biases: list[Tensor | None]) -> DenseMatrix:
    """Matrices with the same input as one: [sum of n_out, n_in]."""
    some = [bias for bias in biases if bias is not None]
    return DenseMatrix(torch.cat(weights), torch.cat(some) if some else None)
