"""`Ops` by the kernels: fp32 activations over weights in panels."""

import torch
from torch import Tensor

from weir_inference.adapters.engines.torch.native.library import library
from weir_inference.adapters.engines.torch.native.matrix import NativeMatrix
from weir_inference.adapters.engines.torch.weights import Matrix


class NativeOps:
    """Every result but a sum lies in a buffer of its own width, which grows to the largest step."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, int], Tensor] = {}
        self._views: dict[tuple[str, int], Tensor] = {}  # the latest: most steps are alike
        self._library = library()

    def embed(self, table: Matrix, ids: Tensor) -> Tensor:
        """See `Ops`."""
        assert isinstance(table, NativeMatrix)
        out = self.buffer("embedded", len(ids), table.n_in)
        self._library.weir_rows(table.address, ids.data_ptr(), len(ids), out.data_ptr())
        return out

    def norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """See `Ops`. weight: [n] fp32."""
        rows, n = x.shape
        out = self.buffer("normed", rows, n)
        self._library.weir_rms_norm(x.data_ptr(), weight.data_ptr(), eps, rows, n, out.data_ptr())
        return out

    def linear(self, x: Tensor, matrix: Matrix, addend: Tensor | None = None) -> Tensor:
        """See `Ops`. The addend is written over."""
        assert isinstance(matrix, NativeMatrix)
        rows = x.shape[0]
        out = self.buffer("product", rows, matrix.n_columns) if addend is None else addend
        self._multiply(x, matrix, addend, out)
        return out if matrix.n_columns == matrix.n_out else out[:, : matrix.n_out]

    def gated(self, x: Tensor, matrix: Matrix, addend: Tensor | None = None) -> Tensor:
        """See `Ops`."""
        assert isinstance(matrix, NativeMatrix)
        out = self.buffer("gated", x.shape[0], matrix.n_columns // 2)
        self._multiply(x, matrix, addend, out)
        return out

    def zeros(self, x: Tensor, n_columns: int) -> Tensor:
        """See `Ops`."""
        return self.buffer("addend", len(x), n_columns).zero_()

    def likeliest(self, logits: Tensor) -> list[int]:
        """See `Backend`."""
        rows, vocab = logits.shape
        out = torch.empty(rows, dtype=torch.int64)
        self._library.weir_argmax(logits.data_ptr(), logits.stride(0), rows, vocab, out.data_ptr())
        tokens: list[int] = out.tolist()
        return tokens

    def buffer(self, name: str, rows: int, width: int) -> Tensor:
        """[rows, width] fp32, the same memory at each call with this name and width."""
        key = (name, width)
        view = self._views.get(key)
        if view is None or view.shape[0] != rows:
            held = self._buffers.get(key)
            if held is None or held.shape[0] < rows:
                held = self._buffers[key] = torch.empty(rows, width)
            view = self._views[key] = held[:rows]
        return view

    def _multiply(
        self, x: Tensor, matrix: NativeMatrix, addend: Tensor | None, out: Tensor
    ) -> None:
        rows, ldx = x.shape
        self._library.weir_linear(
            matrix.address,
            x.data_ptr(),
            ldx,
            rows,
            None if addend is None else addend.data_ptr(),
            matrix.n_columns,
            out.data_ptr(),
            out.shape[1],
        )
