"""Weights in panels: encoded once at load, the only copy."""

import ctypes
import mmap
from collections.abc import Sequence

import torch
from torch import Tensor

from weir_inference.adapters.engines.torch.native.library import MatrixView, library

PANEL = 16
FORMATS = {"fp32": 0, "bf16": 1, "int8": 2, "int4": 3}
ALIGNMENT = 64


class NativeMatrix:
    """A `Matrix` as panels of 16 output columns (native/formats.h).

    The last columns of a part that does not fill its panels are zero.
    """

    def __init__(
        self, format_name: str, n_in: int, heights: Sequence[int], *, gated: bool = False
    ) -> None:
        """Room for parts of `heights` rows; `gated`: two parts whose panels alternate.

        `n_in` must be even.
        """
        assert n_in % 2 == 0
        assert not gated or (len(heights) == 2 and heights[0] == heights[1])
        assert gated or all(height % PANEL == 0 for height in heights[:-1]), "parts fill panels"
        self.n_in = n_in
        self.heights = tuple(heights)
        self.gated = gated
        self.format_name = format_name
        n_panels = sum(-(-height // PANEL) for height in heights)
        self.n_columns = n_panels * PANEL
        self._format = FORMATS[format_name]
        n_bytes = library().weir_panels_bytes(self._format, self.n_columns, n_in)
        self._panels = _memory(n_bytes)
        self._scales = torch.zeros(self.n_columns) if format_name == "int8" else None
        self._bias: Tensor | None = None
        self.view = MatrixView(
            self._format,
            gated,
            self.n_columns,
            n_in,
            self._panels.data_ptr(),
            None if self._scales is None else self._scales.data_ptr(),
            None,
        )
        self.address = ctypes.addressof(self.view)
        self.n_out = sum(heights)

    @property
    def n_bytes(self) -> int:
        """See `Matrix`."""
        return self._panels.nbytes

    @property
    def bias(self) -> Tensor | None:
        """See `Matrix`."""
        return None if self._bias is None else self._bias[self.columns()]

    def columns(self) -> Tensor:
        """See `Matrix`."""
        return torch.cat([self._columns(i) for i in range(len(self.heights))])

    def encode(self, part: int, weight: Tensor, bias: Tensor | None = None) -> None:
        """Take in a part's rows: weight [height, n_in] fp32 or bf16, bias [height]."""
        assert tuple(weight.shape) == (self.heights[part], self.n_in)
        first, stride = self._place(part)
        if weight.dtype not in (torch.float32, torch.bfloat16):
            weight = weight.float()
        weight = weight.contiguous()
        library().weir_encode(
            self._format,
            weight.data_ptr(),
            weight.dtype == torch.bfloat16,
            self.heights[part],
            self.n_in,
            first,
            stride,
            self.view.panels,
            self.view.scales,
        )
        if bias is not None:
            if self._bias is None:
                self._bias = torch.zeros(self.n_columns)
                self.view.bias = self._bias.data_ptr()
            self._bias[self._columns(part)] = bias.float()

    def rows(self, ids: Tensor) -> Tensor:
        """See `Matrix`: fp32."""
        columns = self.columns()[ids] if self.gated else ids
        out = torch.empty(len(ids), self.n_in)
        library().weir_rows(self.address, columns.data_ptr(), len(ids), out.data_ptr())
        return out

    def dense(self) -> Tensor:
        """See `Matrix`: fp32."""
        return self.rows(torch.arange(self.n_out))

    def _place(self, part: int) -> tuple[int, int]:
        """The first panel of a part and the step from one of its panels to the next."""
        if self.gated:
            return part, 2
        return sum(-(-height // PANEL) for height in self.heights[:part]), 1

    def _columns(self, part: int) -> Tensor:
        """The columns of the rows of a part: [n] int64."""
        first, stride = self._place(part)
        row = torch.arange(self.heights[part])
        return (first + row // PANEL * stride) * PANEL + row % PANEL


def _memory(n_bytes: int) -> Tensor:
    """Aligned bytes in huge pages where the system gives them: a step reads all of it."""
    memory = mmap.mmap(-1, n_bytes + ALIGNMENT)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    whole = torch.frombuffer(memory, dtype=torch.uint8)
    first = -whole.data_ptr() % ALIGNMENT
    return whole[first : first + n_bytes]
