"""LoRA adapters (Hu et al. 2021) over one model's weights: many at once, each request its own."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from weir_inference.adapters.engines.torch.backend import Backend
from weir_inference.adapters.engines.torch.decoder import Adapt, unadapted
from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.engines.torch.ops import Ops
from weir_inference.adapters.engines.torch.peft_folder import LowRank
from weir_inference.adapters.engines.torch.weights import DecoderWeights, Matrix
from weir_inference.core.step_plan import Slice
from weir_kit.errors import AlreadyExists, ModelNotFound, QueueFull

# The linear layers that each fused matrix is made of, in the order of its outputs.
PARTS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
RANK_MULTIPLE = 16  # whole panels of the native kernels: products lie without gaps
RETRY_S = 60.0


@dataclass(frozen=True)
class Delta:
    """What an adapter adds to a fused matrix: up · down, over all its linear layers at once.

    `down` [rank, n_in] has the ranks of each layer one after the other, `up` [n_columns, rank] the
    columns as an addend has them, 0 where a rank is not the column's own layer's: two products
    instead of two for each layer, which is what counts for a step of few tokens.
    """

    down: Matrix
    up: Matrix

    def add(self, ops: Ops, x: Tensor, addend: Tensor | None) -> Tensor:
        """The addend [tokens, n_columns], which may be written over, and the delta of `x`."""
        return ops.linear(ops.linear(x, self.down), self.up, addend)


@dataclass(frozen=True)
class LoraAdapter:
    """An adapter as it is computed. `deltas` are by layer and part."""

    deltas: Mapping[tuple[int, str], Delta]
    n_parameters: int

    def everywhere(self, ops: Ops) -> Adapt:
        """An `Adapt` that applies it to all rows, and writes nothing over: for gradients."""

        def adapt(layer: int, part: str, x: Tensor, addend: Tensor | None) -> Tensor | None:
            delta = self.deltas.get((layer, part))
            return addend if delta is None else delta.add(ops, x, addend)

        return adapt


class LoraAdapters:
    """The adapters that requests may name. Loaded and unloaded on any thread while steps run."""

    def __init__(
        self, config: ModelConfig, weights: DecoderWeights, backend: Backend, adapters_max: int
    ) -> None:
        self._weights = weights
        self._heights = heights(config)
        self._backend = backend
        self._adapters_max = adapters_max
        self._loaded: dict[str, LoraAdapter | None] = {}  # None: being loaded
        self._changing = threading.Lock()

    def load(self, name: str, pairs: Mapping[str, LowRank]) -> LoraAdapter:
        """Take in an adapter's pairs by module; steps planned from now on find it.

        Raises `AlreadyExists`, and `QueueFull` when there are as many as may be.
        """
        with self._changing:
            if name in self._loaded:
                raise AlreadyExists(f"an adapter {name!r} is loaded")
            if len(self._loaded) >= self._adapters_max:
                raise QueueFull(
                    f"{self._adapters_max} adapters are loaded: no memory is kept for more",
                    retry_after_s=RETRY_S,
                )
            self._loaded[name] = None
        try:
            adapter = self._laid_out(pairs)
        except BaseException:
            self.unload(name)
            raise
        self._loaded[name] = adapter
        return adapter

    def unload(self, name: str) -> None:
        """Forget an adapter; a step that computes with it keeps it to its end."""
        with self._changing:
            if self._loaded.pop(name, self) is self:
                raise ModelNotFound(f"no adapter {name!r} is loaded")

    def get(self, name: str) -> LoraAdapter:
        """A loaded adapter. Raises `ModelNotFound`."""
        adapter = self._loaded.get(name)
        if adapter is None:
            raise ModelNotFound(f"no adapter {name!r} is loaded")
        return adapter

    def adapt(self, slices: Sequence[Slice]) -> Adapt:
        """What the adapters of a step's requests add to its rows, found once for all layers."""
        rows: dict[str, list[int]] = {}
        row = 0
        for one in slices:
            if one.request.adapter is not None:
                mine = rows.setdefault(one.request.adapter, [])
                mine.extend(range(row, row + len(one.token_ids)))
            row += len(one.token_ids)
        # One that is gone was of a request that ended after this step was planned: nobody reads it.
        found = [
            (adapter, self._index(some))
            for name, some in rows.items()
            if (adapter := self._loaded.get(name)) is not None
        ]
        return AdaptRows(self._backend.ops, found) if found else unadapted

    def _laid_out(self, pairs: Mapping[str, LowRank]) -> LoraAdapter:
        deltas: dict[tuple[int, str], Delta] = {}
        for i, layer in enumerate(self._weights.layers):
            for part, modules in PARTS.items():
                mine = [pairs.get(f"model.layers.{i}.{module}") for module in modules]
                if any(pair is not None for pair in mine):
                    deltas[i, part] = self._delta(getattr(layer, part), part, mine)
        n_parameters = sum(pair.a.numel() + pair.b.numel() for pair in pairs.values())
        return LoraAdapter(deltas, n_parameters)

    def _delta(self, matrix: Matrix, part: str, pairs: Sequence[LowRank | None]) -> Delta:
        """Pairs of a fused matrix's linear layers as two matrices, filled up with zeros."""
        present = [pair for pair in pairs if pair is not None]
        rank = -(-sum(len(pair.a) for pair in present) // RANK_MULTIPLE) * RANK_MULTIPLE
        down = torch.zeros(rank, present[0].a.shape[1])
        up = torch.zeros(matrix.n_out, rank)
        row = first = 0
        for pair, height in zip(pairs, self._heights[part], strict=True):
            if pair is not None:
                last = first + len(pair.a)
                down[first:last] = pair.a
                up[row : row + height, first:last] = pair.b
                first = last
            row += height
        placed = torch.zeros(matrix.n_columns, up.shape[1])
        placed[matrix.columns().cpu()] = up
        return Delta(self._backend.plain(down), self._backend.plain(placed))

    def _index(self, rows: list[int]) -> "slice | Tensor":
        """Rows as a slice, which costs no copy, where they lie together."""
        if rows[-1] - rows[0] == len(rows) - 1:
            return slice(rows[0], rows[-1] + 1)
        return torch.tensor(rows, device=self._backend.device)


class AdaptRows:
    """The `Adapt` of a step: each adapter over its requests' rows."""

    def __init__(self, ops: Ops, found: Sequence[tuple[LoraAdapter, "slice | Tensor"]]) -> None:
        self._ops = ops
        self._found = found

    def __call__(self, layer: int, part: str, x: Tensor, addend: Tensor | None) -> Tensor | None:
        """See `Adapt`."""
        for adapter, rows in self._found:
            delta = adapter.deltas.get((layer, part))
            if delta is None:
                continue
            if addend is None:
                addend = self._ops.zeros(x, delta.up.n_out)
            addend[rows] = delta.add(self._ops, x[rows], addend[rows])
        return addend


def heights(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Outputs of the linear layers in `PARTS`."""
    inner = config.intermediate_size
    return {
        "qkv": (config.width_q, config.width_kv, config.width_kv),
        "o": (config.hidden_size,),
        "gate_up": (inner, inner),
        "down": (config.hidden_size,),
    }
