"""Who holds which page of the KV cache."""

from collections.abc import Iterable


class BlockPool:
    """A fixed number of KV blocks; each is free or held once.

    The block freed last is given out first, so that a quiet engine touches little memory.
    """

    def __init__(self, n_blocks: int) -> None:
        assert n_blocks > 0
        self.n_blocks = n_blocks
        self._free = list(range(n_blocks - 1, -1, -1))
        self._held = bytearray(n_blocks)

    @property
    def n_free(self) -> int:
        """Blocks that nobody holds."""
        return len(self._free)

    @property
    def n_held(self) -> int:
        """Blocks that sequences hold."""
        return self.n_blocks - len(self._free)

    def allocate(self, n: int) -> list[int]:
        """Hand out `n` blocks; the caller has looked at `n_free`."""
        assert 0 <= n <= self.n_free
        block_ids = [self._free.pop() for _ in range(n)]
        for block_id in block_ids:
            assert not self._held[block_id], "a block was free and held"
            self._held[block_id] = True
        return block_ids

    def free(self, block_ids: Iterable[int]) -> None:
        """Take blocks back."""
        for block_id in block_ids:
            assert self._held[block_id], "a block was given back twice"
            self._held[block_id] = False
            self._free.append(block_id)
