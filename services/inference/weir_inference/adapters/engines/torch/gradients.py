"""A decoder's arithmetic with gradients, over weights held in whatever form."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from weir_inference.adapters.engines.torch.weights import Matrix

ROWS_AT_ONCE = 512


class GradientOps:
    """`Ops` in fp32 or fp64, differentiable in the activations alone.

    A matrix is made dense a piece at a time, and anew for the gradient: next to the weights as they
    are served lies never more than one piece. `pause` is called between pieces; what it raises ends
    the computation.
    """

    def __init__(self, dtype: torch.dtype, pause: Callable[[], None]) -> None:
        self._dtype = dtype
        self._pause = pause

    def embed(self, table: Matrix, ids: Tensor) -> Tensor:
        """See `Ops`."""
        return table.rows(ids).to(self._dtype)

    def norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """See `Ops`."""
        return weight.to(self._dtype) * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps))

    def linear(self, x: Tensor, matrix: Matrix, addend: Tensor | None = None) -> Tensor:
        """See `Ops`."""
        product: Tensor = Product.apply(x, matrix, self._pause)  # type: ignore[no-untyped-call]
        if matrix.bias is not None:
            product = product + matrix.bias.to(self._dtype)
        # Columns of an addend that are no outputs fall away; the outputs come in their own order.
        return product if addend is None else product + addend[:, matrix.columns()]

    def gated(self, x: Tensor, matrix: Matrix, addend: Tensor | None = None) -> Tensor:
        """See `Ops`."""
        gate, up = self.linear(x, matrix, addend).chunk(2, dim=-1)
        return F.silu(gate) * up

    def zeros(self, x: Tensor, n_columns: int) -> Tensor:
        """See `Ops`."""
        return x.new_zeros(len(x), n_columns)


class Product(torch.autograd.Function):
    """x · Wᵀ, whose gradient needs no more of the forward pass than W itself."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Matrix, pause: Callable[[], None]) -> Tensor:
        """x: [tokens, n_in] → [tokens, n_out]."""
        ctx.matrix, ctx.pause, ctx.n_in = matrix, pause, x.shape[1]
        return torch.cat([x @ weight.T for _, weight in _pieces(matrix, x, pause)], dim=1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of `x`; the weights have none."""
        (grad,) = grads
        total = grad.new_zeros(len(grad), ctx.n_in)
        for rows, weight in _pieces(ctx.matrix, grad, ctx.pause):
            total += grad[:, rows] @ weight
        return total, None, None


def _pieces(
    matrix: Matrix, like: Tensor, pause: Callable[[], None]
) -> Iterator[tuple[slice, Tensor]]:
    """Some rows of a matrix after others, [rows, n_in], in the type of another tensor."""
    for first in range(0, matrix.n_out, ROWS_AT_ONCE):
        pause()
        rows = slice(first, min(first + ROWS_AT_ONCE, matrix.n_out))
        yield (
            rows,
            matrix.rows(torch.arange(rows.start, rows.stop, device=like.device)).to(like.dtype),
        )
