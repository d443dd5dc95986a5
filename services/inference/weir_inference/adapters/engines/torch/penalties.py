"""Changing logits by what was said before, and by what the caller wishes."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weir_inference.adapters.engines.torch.history import Tally
from weir_inference.core.sampling import Sampling


def penalize(logits: Tensor, penalized: Sequence[tuple[int, Sampling, Tally]]) -> None:
    """Apply bias and penalties to some rows of `logits`, [rows, vocab] fp32, in place.

    In this order: the bias is added; the logits of tokens in prompt or output are divided by the
    repetition penalty, or multiplied where negative (Keskar et al. 2019, as transformers and vLLM
    do); frequency penalty times count and presence penalty are subtracted for tokens in the output
    (as OpenAI's API defines them). Ids beyond the vocabulary are passed over.
    """
    biases, repeated, counted = _Cells(logits), _Cells(logits), _Cells(logits)
    for row, sampling, seen in penalized:
        if sampling.logit_bias:
            ids, values = zip(*sampling.logit_bias, strict=True)
            biases.add(row, np.array(ids), np.array(values))
        if sampling.repetition_penalty != 1.0:
            ids_seen = np.union1d(seen.prompt, seen.output)
            repeated.add(row, ids_seen, np.full(len(ids_seen), sampling.repetition_penalty))
        if sampling.frequency_penalty or sampling.presence_penalty:
            costs = sampling.frequency_penalty * seen.counts + sampling.presence_penalty
            counted.add(row, seen.output, costs)
    if biases:
        logits.index_put_(biases.where(), biases.values(), accumulate=True)
    if repeated:
        before, penalty = logits[repeated.where()], repeated.values()
        logits[repeated.where()] = torch.where(before < 0, before * penalty, before / penalty)
    if counted:
        logits[counted.where()] -= counted.values()


class _Cells:
    """Some cells of a matrix, with a value for each: gathered row by row, used at once."""

    def __init__(self, matrix: Tensor) -> None:
        self._matrix = matrix
        self._rows: list[NDArray[np.int64]] = []
        self._ids: list[NDArray[np.int64]] = []
        self._values: list[NDArray[np.floating]] = []

    def __bool__(self) -> bool:
        return bool(self._rows)

    def add(self, row: int, ids: NDArray[np.int64], values: NDArray[np.floating]) -> None:
        inside = ids < self._matrix.shape[1]
        self._rows.append(np.full(int(inside.sum()), row))
        self._ids.append(ids[inside])
        self._values.append(values[inside])

    def where(self) -> tuple[Tensor, Tensor]:
        return self._tensor(self._rows, torch.int64), self._tensor(self._ids, torch.int64)

    def values(self) -> Tensor:
        return self._tensor(self._values, torch.float32)

    def _tensor(self, parts: Sequence[NDArray[np.generic]], dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(np.concatenate(parts)).to(self._matrix.device, dtype)
