"""The arithmetic between the products, each as one kernel: torch takes up to six for the same."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from weir_inference.adapters.engines.torch.ops import TorchOps
from weir_inference.adapters.engines.torch.weights import Matrix

COLUMNS = 1024  # of a program of `gate_columns`


class CudaOps:
    """`Ops` by Triton, and by torch's own products."""

    def __init__(self) -> None:
        self._torch = TorchOps()

    def embed(self, table: Matrix, ids: Tensor) -> Tensor:
        """See `Ops`."""
        return self._torch.embed(table, ids)

    def norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """See `Ops`; computed in fp32. Of x: [tokens, n] or, contiguous by head, [tokens, m, n]."""
        n_columns = x.shape[-1]
        out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        n_heads = 1 if x.dim() == 2 else x.shape[1]
        norm_row[(x.shape[0], n_heads)](
            x, weight, out, eps, x.stride(0), n_heads=n_heads, n_columns=n_columns,
            n_columns_padded=triton.next_power_of_2(n_columns),
            num_warps=8 if n_columns > COLUMNS else 4,
        )  # fmt: skip
        return out

    def linear(self, x: Tensor, matrix: Matrix, addend: Tensor | None = None) -> Tensor:
        """See `Ops`. Into the addend where there is no bias: one kernel instead of two."""
        if addend is None or matrix.bias is not None:
            return self._torch.linear(x, matrix, addend)
        return addend.addmm_(x, matrix.dense().t())

    def gated(self, x: Tensor, matrix: Matrix, addend: Tensor | None = None) -> Tensor:
        """See `Ops`."""
        both = self.linear(x, matrix, addend)
        n_columns = both.shape[1] // 2
        out = torch.empty(both.shape[0], n_columns, dtype=both.dtype, device=both.device)
        gate_columns[(both.shape[0], triton.cdiv(n_columns, COLUMNS))](
            both, out, n_columns=n_columns, columns=COLUMNS
        )
        return out

    def zeros(self, x: Tensor, n_columns: int) -> Tensor:
        """See `Ops`."""
        return self._torch.zeros(x, n_columns)


@triton.jit  # type: ignore[untyped-decorator]
def norm_row(
    x: tl.tensor, weight: tl.tensor, out: tl.tensor, eps: tl.tensor, stride: tl.tensor,
    n_heads: tl.constexpr, n_columns: tl.constexpr, n_columns_padded: tl.constexpr,
) -> None:  # fmt: skip
    """One program: a head of a token. Rounded where `TorchOps.norm` rounds."""
    token, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    column = tl.arange(0, n_columns_padded)
    inside = column < n_columns
    dtype = out.dtype.element_ty
    at = token * stride + head * n_columns + column
    wide = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    wide = wide * tl.rsqrt(tl.sum(wide * wide, 0) / n_columns + eps)
    rounded = wide.to(dtype).to(tl.float32)
    scaled = rounded * tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    out_at = out + (token * n_heads + head) * n_columns + column
    tl.store(out_at, scaled.to(dtype), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def gate_columns(
    both: tl.tensor, out: tl.tensor, n_columns: tl.constexpr, columns: tl.constexpr
) -> None:
    """One program: some columns of a token's silu(gate) · up, rounded where torch rounds."""
    token = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    inside = column < n_columns
    at = both + token * 2 * n_columns + column
    gate = tl.load(at, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(at + n_columns, mask=inside, other=0.0).to(tl.float32)
    dtype = out.dtype.element_ty
    silu = (gate / (1.0 + tl.exp(-gate))).to(dtype).to(tl.float32)
    tl.store(out + token * n_columns + column, (silu * up).to(dtype), mask=inside)
