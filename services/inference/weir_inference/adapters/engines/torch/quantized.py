"""Weight-only quantization in torch: what the kernels do in panels, for any device."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from weir_inference.adapters.engines.torch.weights import DenseMatrix

GROUP = 32


@dataclass(frozen=True)
class QuantizedMatrix:
    """A `Matrix` as whole numbers in groups of inputs, each group of a row with its scale.

    numbers: [n_out, groups, group] int8, or with two int4 in a byte [n_out, groups, group / 2];
    scales: [n_out, groups, 1] in the type of the activations.
    """

    numbers: Tensor
    scales: Tensor
    n_in: int
    bits: int
    bias: Tensor | None = None

    @property
    def n_out(self) -> int:
        """See `Matrix`."""
        return self.numbers.shape[0]

    @property
    def n_columns(self) -> int:
        """See `Matrix`."""
        return self.n_out

    @property
    def n_bytes(self) -> int:
        """See `Matrix`."""
        return self.numbers.nbytes + self.scales.nbytes

    def columns(self) -> Tensor:
        """See `Matrix`."""
        return torch.arange(self.n_out, device=self.numbers.device)

    def rows(self, ids: Tensor) -> Tensor:
        """See `Matrix`."""
        return self._widen(self.numbers[ids], self.scales[ids])

    def dense(self) -> Tensor:
        """See `Matrix`."""
        return self._widen(self.numbers, self.scales)

    def _widen(self, numbers: Tensor, scales: Tensor) -> Tensor:
        if self.bits == 4:
            halves = (numbers & 15, numbers >> 4)
            numbers = torch.stack(halves, dim=-1).flatten(2).to(torch.int8) - 8
        return (numbers * scales).flatten(1)[:, : self.n_in]


def quantized(matrix: DenseMatrix, kind: str) -> QuantizedMatrix:
    """`int8`: one scale a row, absmax / 127. `int4`: one for 32 inputs, absmax to -8 (Q4_0)."""
    weight = matrix.weight.float()
    n_out, n_in = weight.shape
    if kind == "int8":
        largest = weight.abs().amax(-1).view(n_out, 1, 1)
        scales = largest / 127
        numbers = (weight.unsqueeze(1) * _inverse(largest, 127.0)).round().to(torch.int8)
        return QuantizedMatrix(numbers, scales.to(matrix.weight.dtype), n_in, 8, matrix.bias)
    groups = F.pad(weight, (0, -n_in % GROUP)).view(n_out, -1, GROUP)
    largest = groups.gather(-1, groups.abs().argmax(-1, keepdim=True))
    scales = (largest / -8).bfloat16().float()
    numbers = (groups * _inverse(scales, 1.0)).round().clamp(-8, 7) + 8
    numbers = numbers.to(torch.uint8)
    even, odd = numbers[..., 0::2], numbers[..., 1::2]
    packed = even | odd << 4
    return QuantizedMatrix(packed, scales.to(matrix.weight.dtype), n_in, 4, matrix.bias)


def _inverse(x: Tensor, share: float) -> Tensor:
    """share / x, and 0 where x is: the kernels multiply by it, too, so that ties fall alike."""
    # Not `share / x`, which torch computes as share · (1 / x): rounded twice.
    return torch.where(x == 0, 0.0, torch.full_like(x, share) / x)
