"""Tokens of a step to hidden states: how a `ModelRunner` runs its model."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from weir_inference.adapters.engines.torch.backend import Backend
from weir_inference.adapters.engines.torch.decoder import Adapt, decode
from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.engines.torch.placing import placed
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
        ids, positions = ids_and_positions(slices, self._backend.device)
        ops = self._backend.ops
        return decode(
            self._weights,
            ops,
            ops.embed(self._weights.embedding, ids),
            self._backend.attention(slices, positions),
            self._config.rms_norm_eps,
            adapt,
        )


def ids_and_positions(slices: Sequence[Slice], device: torch.device) -> tuple[Tensor, Tensor]:
    """Of the tokens of a step, end to end: [tokens] int64 each."""
    ids = [token_id for one in slices for token_id in one.token_ids]
    positions = [position for one in slices for position in range(one.start, one.end)]
    return placed(ids, torch.int64, device), placed(positions, torch.int64, device)
