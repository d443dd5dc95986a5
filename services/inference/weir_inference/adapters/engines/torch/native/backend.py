"""`Backend` by the kernels."""

import ctypes
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from weir_inference.adapters.engines.torch.backend import Part
from weir_inference.adapters.engines.torch.decoder import Rope
from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.engines.torch.native.library import (
    AttentionShape,
    lacking,
    library,
)
from weir_inference.adapters.engines.torch.native.matrix import FORMATS, PANEL, NativeMatrix
from weir_inference.adapters.engines.torch.native.ops import NativeOps
from weir_inference.adapters.engines.torch.weights import LayerWeights
from weir_inference.core.step_plan import Slice


def unfit(config: ModelConfig) -> str | None:
    """Why this model cannot run on the kernels here; None if it can."""
    ragged = [
        name for name in ("hidden_size", "width_q", "width_kv") if getattr(config, name) % PANEL
    ]
    if ragged:
        return f"{', '.join(ragged)}: not a multiple of {PANEL}"
    if config.intermediate_size % 2 or config.head_dim % 2:
        return "intermediate_size or head_dim: odd"
    return lacking()


class NativeBackend:
    """Weights in panels and a KV cache of panels on this machine's CPU.

    `dtype` (`bf16` or `fp32`) is that of the cache and, unless quantized, of the weights.
    """

    name = "native"

    def __init__(self, config: ModelConfig, dtype: str, quantize: str) -> None:
        assert unfit(config) is None
        self.ops = NativeOps()
        self.device = torch.device("cpu")
        self._dtype = dtype
        self._format = dtype if quantize == "none" else quantize
        self._number_bytes = 2 if dtype == "bf16" else 4
        self._config = config
        self._shape = AttentionShape(
            format=FORMATS[dtype],
            n_heads=config.n_heads,
            n_kv_heads=config.n_kv_heads,
            head_dim=config.head_dim,
            window=config.sliding_window or 0,
            scale=1.0 / math.sqrt(config.head_dim),
        )

    @property
    def block_bytes(self) -> int:
        """See `Backend`."""
        return self._config.n_layers * self._layer_block_bytes

    @property
    def _layer_block_bytes(self) -> int:
        head_dim = self._config.head_dim
        padded = -(-head_dim // PANEL) * PANEL  # values fill whole panels
        return self._config.n_kv_heads * PANEL * (head_dim + padded) * self._number_bytes

    def matrix(
        self, parts: Iterator[Part], heights: Sequence[int], *, gated: bool = False
    ) -> NativeMatrix:
        """See `Backend`."""
        matrix: NativeMatrix | None = None
        for i, (weight, bias) in enumerate(parts):
            if matrix is None:
                matrix = NativeMatrix(self._format, weight.shape[1], heights, gated=gated)
            matrix.encode(i, weight, bias)
        assert matrix is not None
        return matrix

    def plain(self, weight: Tensor) -> NativeMatrix:
        """See `Backend`."""
        matrix = NativeMatrix(self._dtype, weight.shape[1], (weight.shape[0],))
        matrix.encode(0, weight)
        return matrix

    def vector(self, tensor: Tensor) -> Tensor:
        """See `Backend`."""
        return tensor.float()

    def open_cache(self, n_blocks: int, rope: Rope) -> None:
        """See `Backend`. Zero pages from the system cost nothing until they are written."""
        self._rope = rope
        self._layer_bytes = n_blocks * self._layer_block_bytes
        self._cache = np.zeros(self._config.n_layers * self._layer_bytes, dtype=np.uint8)

    def attention(self, slices: Sequence[Slice], positions: Tensor) -> "NativeAttention":
        """See `Backend`."""
        return NativeAttention(
            self._config,
            self._shape,
            self._rope,
            self._cache,
            self._layer_bytes,
            self.ops,
            slices,
            positions,
        )


class NativeAttention:
    """The `Attend` of one step over the paged cache (native/attention.h)."""

    def __init__(
        self,
        config: ModelConfig,
        shape: AttentionShape,
        rope: Rope,
        cache: "np.ndarray[tuple[int], np.dtype[np.uint8]]",
        layer_bytes: int,
        ops: NativeOps,
        slices: Sequence[Slice],
        positions: Tensor,
    ) -> None:
        self._config = config
        self._shape = ctypes.addressof(shape)
        self._angles = (rope.cos.data_ptr(), rope.sin.data_ptr())
        self._cache_at = cache.ctypes.data
        self._layer_bytes = layer_bytes
        self._ops = ops
        self._positions = positions.data_ptr()
        self._library = library()
        spans: list[tuple[int, ...]] = []
        tables: list[int] = []
        slots: list[int] = []
        row = 0
        for one in slices:
            begin = self._first_block(one.start)
            spans.append((row, len(one.token_ids), one.start, len(tables), begin * PANEL))
            tables.extend(one.block_ids[begin : -(-one.end // PANEL)])
            slots.extend(
                one.block_ids[position // PANEL] * PANEL + position % PANEL
                for position in range(one.start, one.end)
            )
            row += len(one.token_ids)
        self._n_spans = len(spans)
        # Addresses are passed on; what lies there is held here.
        self._held = (
            shape,
            rope,
            positions,
            torch.tensor(spans, dtype=torch.int32),
            torch.tensor(tables, dtype=torch.int32),
            torch.tensor(slots, dtype=torch.int64),
        )
        self._spans, self._tables, self._slots = (one.data_ptr() for one in self._held[3:])

    def __call__(self, layer: int, qkv: Tensor, weights: LayerWeights) -> Tensor:
        """See `Attend`."""
        rows, at = qkv.shape[0], qkv.data_ptr()
        out = self._ops.buffer("mixed", rows, self._config.width_q)
        cache = self._cache_at + layer * self._layer_bytes
        self._library.weir_store_kv(
            self._shape,
            at,
            rows,
            self._positions,
            self._slots,
            *self._angles,
            None if weights.q_norm is None else weights.q_norm.data_ptr(),
            None if weights.k_norm is None else weights.k_norm.data_ptr(),
            self._config.rms_norm_eps,
            cache,
        )
        self._library.weir_attend(
            self._shape,
            at,
            self._spans,
            self._n_spans,
            self._tables,
            cache,
            out.data_ptr(),
        )
        return out

    def _first_block(self, start: int) -> int:
        """The first block that a token at `start` looks at."""
        window = self._config.sliding_window
        return 0 if window is None else max(0, start - window + 1) // PANEL
