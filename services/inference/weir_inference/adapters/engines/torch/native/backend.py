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
        self.config = config
        self._shape = AttentionShape(
            format=FORMATS[dtype],
            n_heads=config.n_heads,
            n_kv_heads=config.n_kv_heads,
            head_dim=config.head_dim,
            window=config.sliding_window or 0,
            scale=1.0 / math.sqrt(config.head_dim),
        )
        self.shape = ctypes.addressof(self._shape)

    @property
    def block_bytes(self) -> int:
        """See `Backend`."""
        return self.config.n_layers * self._layer_block_bytes

    @property
    def _layer_block_bytes(self) -> int:
        head_dim = self.config.head_dim
        padded = -(-head_dim // PANEL) * PANEL  # values fill whole panels
        return self.config.n_kv_heads * PANEL * (head_dim + padded) * self._number_bytes

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
        self.angles = rope.cos.data_ptr(), rope.sin.data_ptr()
        self._layer_bytes = n_blocks * self._layer_block_bytes
        self._cache = np.zeros(self.config.n_layers * self._layer_bytes, dtype=np.uint8)

    def cache_of(self, layer: int) -> int:
        """Where a layer's keys and values lie."""
        return int(self._cache.ctypes.data) + layer * self._layer_bytes

    def attention(self, slices: Sequence[Slice], positions: Tensor) -> "NativeAttention":
        """See `Backend`."""
        return NativeAttention(self, slices, positions)

    def likeliest(self, logits: Tensor) -> list[int]:
        """See `Backend`."""
        return self.ops.likeliest(logits)


class NativeAttention:
    """The `Attend` of one step over the paged cache (native/attention.h)."""

    def __init__(self, backend: NativeBackend, slices: Sequence[Slice], positions: Tensor) -> None:
        self._backend = backend
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
        # Addresses are passed on; what lies there is held here.
        self._held = (
            positions,
            torch.tensor(slots, dtype=torch.int64),
            torch.tensor(spans, dtype=torch.int32),
            torch.tensor(tables, dtype=torch.int32),
        )
        places = [one.data_ptr() for one in self._held]
        self.positions, self.slots, self.spans, self.tables = places
        self.n_spans = len(spans)

    def __call__(self, layer: int, qkv: Tensor, weights: LayerWeights) -> Tensor:
        """See `Attend`."""
        backend, rows, at = self._backend, qkv.shape[0], qkv.data_ptr()
        out = backend.ops.buffer("mixed", rows, backend.config.width_q)
        kernels, cache = library(), backend.cache_of(layer)
        kernels.weir_store_kv(
            backend.shape,
            at,
            rows,
            self.positions,
            self.slots,
            *backend.angles,
            address_of(weights.q_norm),
            address_of(weights.k_norm),
            backend.config.rms_norm_eps,
            cache,
        )
        kernels.weir_attend(
            backend.shape, at, self.spans, self.n_spans, self.tables, cache, out.data_ptr()
        )
        return out

    def _first_block(self, start: int) -> int:
        """The first block that a token at `start` looks at."""
        window = self._backend.config.sliding_window
        return 0 if window is None else max(0, start - window + 1) // PANEL


def address_of(tensor: Tensor | None) -> int | None:
    """Where it lies, for the kernels."""
    return None if tensor is None else tensor.data_ptr()
