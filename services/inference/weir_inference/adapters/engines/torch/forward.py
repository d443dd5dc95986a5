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

    def __call__(
        self, slices: Sequence[Slice], adapt: Adapt, chosen: Tensor | None = None
    ) -> Tensor:
        """[tokens, hidden]; valid until the next step.

        `chosen`, where the slices follow those of a step: see `put_chosen`.
        """
        ...


class PlainForward:
    """A `Forward` by any backend."""

    def __init__(self, config: ModelConfig, weights: DecoderWeights, backend: Backend) -> None:
        self._config = config
        self._weights = weights
        self._backend = backend

    def __call__(
        self, slices: Sequence[Slice], adapt: Adapt, chosen: Tensor | None = None
    ) -> Tensor:
        """See `Forward`."""
        ids, positions = ids_and_positions(slices, self._backend.device)
        put_chosen(ids, slices, chosen)
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


def put_chosen(ids: Tensor, slices: Sequence[Slice], chosen: Tensor | None) -> None:
    """Give slices that follow those of the step before the tokens that it chose, in place.

    `ids`: [tokens], of these slices; `chosen`: [slices of the step before] int64, all on the
    device: the host need not know them. A token that is not settled is taken for token 0: what
    comes of it will not count (`SliceResult.misled`).
    """
    if chosen is None:
        return
    numbers = [one.follows for one in slices if one.follows is not None]
    assert len(numbers) == len(slices) == len(ids), "each follows, with one token"
    if numbers != list(range(len(chosen))):
        chosen = chosen[placed(numbers, torch.int64, chosen.device)]
    ids.copy_(chosen.clamp(min=0))
