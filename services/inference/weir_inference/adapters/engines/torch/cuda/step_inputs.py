"""The numbers that a step's kernels read, in one buffer: one copy to the device for each step."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from weir_inference.adapters.engines.torch.kv_cache import BLOCK_SIZE

TILE = 4  # numbers of one
ALIGNMENT = 4  # numbers: 16 bytes. Triton compiles a kernel anew for pointers aligned otherwise


@dataclass(frozen=True)
class Shape:
    """How many rows and tiles a step has: where its numbers lie follows from that."""

    n_rows: int
    n_decodes: int
    n_chunks: int

    @property
    def n_before_tables(self) -> int:
        """Numbers before the block tables."""
        return 3 * aligned(self.n_rows) + TILE * (self.n_decodes + self.n_chunks)


@dataclass(frozen=True)
class StepInputs:
    """A step as the kernels see it, all int32: `ids`, `positions` and `slots` are [tokens].

    A tile is (first row, rows, position of the first, where its block table begins in `tables`):
    [tiles, 4]. Tiles of `decodes` have one row; those of `chunks` several, and a long chunk has
    several tiles. `tables` are the sequences' block ids end to end.
    """

    ids: Tensor
    positions: Tensor
    slots: Tensor
    decodes: Tensor
    chunks: Tensor
    tables: Tensor

    @classmethod
    def of(cls, buffer: Tensor, shape: Shape) -> "StepInputs":
        """Views of a buffer that `StepNumbers.packed` filled."""
        n_rows, step = shape.n_rows, aligned(shape.n_rows)
        tiles = buffer[3 * step : shape.n_before_tables].view(-1, TILE)
        return cls(
            ids=buffer[:n_rows],
            positions=buffer[step : step + n_rows],
            slots=buffer[2 * step : 2 * step + n_rows],
            decodes=tiles[: shape.n_decodes],
            chunks=tiles[shape.n_decodes :],
            tables=buffer[shape.n_before_tables :],
        )


class StepNumbers:
    """A step's numbers as they are gathered on the host."""

    def __init__(self, tokens_of_a_tile: int) -> None:
        self._tokens_of_a_tile = tokens_of_a_tile
        self._ids: list[int] = []
        self._positions: list[int] = []
        self._slots: list[int] = []
        self._decodes: list[tuple[int, int, int, int]] = []
        self._chunks: list[tuple[int, int, int, int]] = []
        self._tables: list[int] = []

    @property
    def shape(self) -> Shape:
        """Of what was added so far."""
        return Shape(len(self._ids), len(self._decodes), len(self._chunks))

    def add(self, token_ids: Sequence[int], start: int, block_ids: Sequence[int]) -> None:
        """Tokens of one sequence at positions `start`, `start` + 1, …, as in a `Slice`."""
        row, table, end = len(self._ids), len(self._tables), start + len(token_ids)
        self._ids.extend(token_ids)
        self._positions.extend(range(start, end))
        self._slots.extend(
            block_ids[position // BLOCK_SIZE] * BLOCK_SIZE + position % BLOCK_SIZE
            for position in range(start, end)
        )
        self._tables.extend(block_ids[: -(-end // BLOCK_SIZE)])
        if len(token_ids) == 1:
            self._decodes.append((row, 1, start, table))
            return
        for first in range(0, len(token_ids), self._tokens_of_a_tile):
            n_rows = min(self._tokens_of_a_tile, len(token_ids) - first)
            self._chunks.append((row + first, n_rows, start + first, table))

    def packed(self) -> NDArray[np.int32]:
        """All of them, as `StepInputs.of` finds them."""
        step = aligned(len(self._ids))
        before = self.shape.n_before_tables
        numbers = np.zeros(before + len(self._tables), dtype=np.int32)
        for n, column in enumerate((self._ids, self._positions, self._slots)):
            numbers[n * step : n * step + len(column)] = column
        tiles = [*self._decodes, *self._chunks]
        numbers[3 * step : before] = list(chain.from_iterable(tiles))
        numbers[before:] = self._tables
        return numbers


def aligned(n: int) -> int:
    """`n` numbers and a gap, so that the next begin aligned."""
    return -(-n // ALIGNMENT) * ALIGNMENT
