"""Tokens of a step to hidden states: how a `ModelRunner` runs its model."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from weir_inference.adapters.engines.torch.backend import Backend
from weir_inference.adapters.engines.torch.decoder import Adapt, Attend, decode
from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.engines.torch.weights import DecoderWeights
from weir_inference.core.step_plan import Slice


class Forward(Protocol):
    """The model over the tokens of slices, keeping their KV."""

    def __call__(self, slices: Sequence[Slice], adapt: Adapt) -> Tensor:
        """[tokens, hidden]; valid until the next step."""
        ...


class PlainForward:
    """A `Forward` by any backend."""

    def __init__(self, config: ModelConfig, weights: DecoderWeights, backend: Backend) -> None:
        self._config = config
        self._weights = weights
        self._backend = backend

    def __call__(self, slices: Sequence[Slice], adapt: Adapt) -> Tensor:
        """See `Forward`."""
        x, attend = self.opened(slices)
        ops, eps = self._backend.ops, self._config.rms_norm_eps
        return decode(self._weights, ops, x, attend, eps, adapt)

    def opened(self, slices: Sequence[Slice]) -> tuple[Tensor, Attend]:
        """What goes into the first layer: the embedded tokens [tokens, hidden]; their attention."""
        ids = self._index([token_id for one in slices for token_id in one.token_ids])
        positions = self._index(
            [position for one in slices for position in range(one.start, one.end)]
        )
        x = self._backend.ops.embed(self._weights.embedding, ids)
        return x, self._backend.attention(slices, positions)

    def _index(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._backend.device)
