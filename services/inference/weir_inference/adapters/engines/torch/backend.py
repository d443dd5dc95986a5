"""How a decoder is computed: by the native kernels, or by torch on any device."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from weir_inference.adapters.engines.torch.decoder import Attend, Rope
from weir_inference.adapters.engines.torch.kv_cache import KVCache, block_bytes
from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.engines.torch.ops import Ops, TorchOps
from weir_inference.adapters.engines.torch.paged_attention import PagedAttention
from weir_inference.adapters.engines.torch.quantized import quantized
from weir_inference.adapters.engines.torch.row_draw import likeliest_by_numpy
from weir_inference.adapters.engines.torch.weights import DenseMatrix, Matrix, fused
from weir_inference.core.step_plan import Slice

# A weight [n_out, n_in] and a bias [n_out].
Part = tuple[Tensor, Tensor | None]


class Backend(Protocol):
    """Where weights, keys and values lie, and what computes with them."""

    @property
    def name(self) -> str:
        """As settings call it."""
        ...

    @property
    def ops(self) -> Ops:
        """What computes with its matrices."""
        ...

    @property
    def device(self) -> torch.device:
        """Where ids and positions go."""
        ...

    @property
    def block_bytes(self) -> int:
        """Memory of one KV block over all layers."""
        ...

    def matrix(
        self, parts: Iterator[Part], heights: Sequence[int], *, gated: bool = False
    ) -> Matrix:
        """Parts with the same input as one matrix, taken in one by one."""
        ...

    def plain(self, weight: Tensor) -> Matrix:
        """A weight [n_out, n_in], `n_in` even, that is never quantized, without bias."""
        ...

    def vector(self, tensor: Tensor) -> Tensor:
        """A norm's weight."""
        ...

    def open_cache(self, n_blocks: int, rope: Rope) -> None:
        """Make room for keys and values, and keep the rotary angles."""
        ...

    def attention(self, slices: Sequence[Slice], positions: Tensor) -> Attend:
        """The attention of one step; positions: [tokens] int64."""
        ...

    def likeliest(self, logits: Tensor) -> list[int]:
        """See `Likeliest`; only asked on a CPU."""
        ...


class TorchBackend:
    """Torch alone. `dtype` is that of weights, activations and cache."""

    name = "torch"

    def __init__(
        self, config: ModelConfig, dtype: torch.dtype, device: torch.device, quantize: str
    ) -> None:
        self.ops = TorchOps()
        self.device = device
        self._config = config
        self._dtype = dtype
        self._quantize = quantize

    @property
    def block_bytes(self) -> int:
        """See `Backend`."""
        return block_bytes(self._config, self._dtype)

    def matrix(
        self, parts: Iterator[Part], heights: Sequence[int], *, gated: bool = False
    ) -> Matrix:
        """See `Backend`."""
        del heights, gated
        weights, biases = zip(*parts, strict=True)
        dense = fused(
            [self._placed(weight) for weight in weights],
            [None if bias is None else self._placed(bias) for bias in biases],
        )
        return quantized(dense, self._quantize) if self._quantize != "none" else dense

    def plain(self, weight: Tensor) -> Matrix:
        """See `Backend`."""
        return DenseMatrix(self._placed(weight))

    def vector(self, tensor: Tensor) -> Tensor:
        """See `Backend`."""
        return self._placed(tensor)

    def open_cache(self, n_blocks: int, rope: Rope) -> None:
        """See `Backend`."""
        self._cache = KVCache(self._config, n_blocks, self._dtype, self.device)
        self._rope = rope.to(self.device)

    def attention(self, slices: Sequence[Slice], positions: Tensor) -> Attend:
        """See `Backend`."""
        rope = self._rope.at(positions, self._dtype)
        return PagedAttention(self._config, self._cache, self.ops, rope, slices)

    def likeliest(self, logits: Tensor) -> list[int]:
        """See `Backend`."""
        return likeliest_by_numpy(logits)

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, self._dtype)
