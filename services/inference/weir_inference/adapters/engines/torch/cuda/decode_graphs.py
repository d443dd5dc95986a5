"""Decoding steps as CUDA graphs: a step of few rows is bound by its hundreds of launches.

A graph has fixed shapes and addresses. So there is one for each of some numbers of rows, and all
read one buffer; a step fills it up with rows that nobody asked for, of token 0 at position 0 in a
block that no sequence has.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from weir_inference.adapters.engines.torch.cuda.backend import CudaBackend
from weir_inference.adapters.engines.torch.cuda.step_inputs import Shape, StepInputs
from weir_inference.adapters.engines.torch.forward import put_chosen
from weir_inference.adapters.engines.torch.placing import placed
from weir_inference.core.step_plan import Slice

Compute = Callable[[], Tensor]
# Makes of a computation one that does the same on what then lies where its inputs lay.
Capture = Callable[[Compute], Compute]


class DecodeGraphs:
    """Graphs of `compute` for steps of up to `rows_max` rows, captured now."""

    def __init__(
        self,
        backend: CudaBackend,
        compute: Callable[[StepInputs], Tensor],
        capture: Capture,
        rows_max: int,
    ) -> None:
        self._backend = backend
        self._sizes = sizes(rows_max)
        n_numbers = self._shape(rows_max).n_before_tables + rows_max * backend.context_blocks
        self._buffer = torch.zeros(n_numbers, dtype=torch.int32, device=backend.device)
        self._graphs: dict[int, Compute] = {}
        # The largest first: the smaller ones then find room in its memory.
        for n_rows in reversed(self._sizes):
            self._fill((), n_rows)
            step = StepInputs.of(self._buffer, self._shape(n_rows))
            self._graphs[n_rows] = capture(partial(compute, step))

    def fit(self, slices: Sequence[Slice]) -> bool:
        """Whether they are a token each, and not too many."""
        return len(slices) <= self._sizes[-1] and all(len(one.token_ids) == 1 for one in slices)

    def run(self, slices: Sequence[Slice], chosen: Tensor | None = None) -> Tensor:
        """[tokens, hidden]; valid until the next step. `chosen`: see `put_chosen`."""
        n_rows = next(size for size in self._sizes if size >= len(slices))
        self._fill(slices, n_rows)
        put_chosen(self._buffer[: len(slices)], slices, chosen)
        return self._graphs[n_rows]()[: len(slices)]

    def _fill(self, slices: Sequence[Slice], n_rows: int) -> None:
        numbers = self._backend.numbers()
        for one in slices:
            numbers.add(one.token_ids, one.start, one.block_ids)
        for _ in range(n_rows - len(slices)):
            numbers.add((0,), 0, (self._backend.scratch_block,))
        assert numbers.shape == self._shape(n_rows)
        packed = placed(numbers.packed(), torch.int32, self._backend.device)
        self._buffer[: len(packed)].copy_(packed, non_blocking=True)

    def _shape(self, n_rows: int) -> Shape:
        return Shape(n_rows, n_decodes=n_rows, n_chunks=0)


def sizes(rows_max: int) -> list[int]:
    """Powers of 2 up to `rows_max`, and that."""
    return [*(2**n for n in range((rows_max - 1).bit_length())), rows_max]
