"""The arithmetic that a decoder is made of: torch's own, for any device, type and for gradients."""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from weir_inference.adapters.engines.torch.weights import Matrix


class Ops(Protocol):
    """What `decode` needs. Tensors are ragged: the first axis is the token.

    A result may lie in memory that the next call with a result of its shape writes over.
    """

    def embed(self, table: Matrix, ids: Tensor) -> Tensor:
        """ids: [tokens] int64 → [tokens, hidden]."""
        ...

    def norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """Root-mean-square norm of the last axis (Zhang & Sennrich 2019)."""
        ...

    def linear(self, x: Tensor, matrix: Matrix, addend: Tensor | None = None) -> Tensor:
        """[tokens, n_in] → [tokens, n_out]: product, bias and addend, which may be written over."""
        ...

    def gated(self, x: Tensor, matrix: Matrix, addend: Tensor | None = None) -> Tensor:
        """silu(gate) · up of a gated matrix: [tokens, n_out / 2] (Shazeer 2020)."""
        ...

    def zeros(self, x: Tensor, n_columns: int) -> Tensor:
        """An addend of nothing to a product of `x`: [tokens, n_columns]."""
        ...


class TorchOps:
    """`Ops` by torch: the reference, and what runs where there are no kernels."""

    def embed(self, table: Matrix, ids: Tensor) -> Tensor:
        """See `Ops`."""
        return table.rows(ids)

    def norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """See `Ops`; computed in fp32."""
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
        return weight * wide.to(x.dtype)

    def linear(self, x: Tensor, matrix: Matrix, addend: Tensor | None = None) -> Tensor:
        """See `Ops`."""
        product = F.linear(x, matrix.dense(), matrix.bias)
        return product if addend is None else product + addend

    def gated(self, x: Tensor, matrix: Matrix, addend: Tensor | None = None) -> Tensor:
        """See `Ops`."""
        gate, up = self.linear(x, matrix, addend).chunk(2, dim=-1)
        return F.silu(gate) * up

    def zeros(self, x: Tensor, n_columns: int) -> Tensor:
        """See `Ops`."""
        return x.new_zeros(len(x), n_columns)
