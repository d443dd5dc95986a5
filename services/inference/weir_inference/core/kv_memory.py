"""The blocks of sequences: held, grown, given back, found again."""

from weir_inference.core.block_pool import BlockPool
from weir_inference.core.limits import Limits
from weir_inference.core.sequence import Sequence


class KVMemory:
    """A block pool, seen by sequences instead of by blocks."""

    def __init__(self, limits: Limits) -> None:
        self.pool = BlockPool(limits.n_blocks)
        self._block_size = limits.block_size
        self._prefix_caching = limits.prefix_caching

    def n_blocks_of(self, sequence: Sequence, n_more: int = 0) -> int:
        """Blocks for all its known tokens and some more."""
        return -(-(len(sequence.token_ids) + n_more) // self._block_size)

    def n_unused(self, sequence: Sequence) -> int:
        """Tokens that fit into its blocks beside the known ones; below 0 if those do not fit."""
        return len(sequence.block_ids) * self._block_size - len(sequence.token_ids)

    def n_spare_tokens(self, n_blocks_kept: int) -> int:
        """Tokens that fit into the free blocks, but for a number that is kept."""
        return max(0, self.pool.n_free - n_blocks_kept) * self._block_size

    def cached_blocks(self, sequence: Sequence) -> list[int]:
        """The longest prefix in the cache that leaves a token to compute: the next is chosen by it.

        Whole blocks only, so that what is computed never goes into a block that others share. Where
        the prompt is to be scored, all of it is computed.
        """
        if not (self._prefix_caching and sequence.prompt_scored):
            return []
        n_max = (len(sequence.token_ids) - 1) // self._block_size
        return self.pool.find(sequence.chain.digests(sequence.token_ids, n_max), n_max)

    def hold(self, sequence: Sequence, cached: list[int]) -> None:
        """Blocks for all its known tokens, the first of them found in the cache."""
        self.pool.share(cached)  # first, or allocating could evict them
        sequence.block_ids = cached + self.pool.allocate(self.n_blocks_of(sequence) - len(cached))
        sequence.n_registered = len(cached)
        sequence.n_computed = len(cached) * self._block_size

    def n_lacking(self, sequence: Sequence, n_more: int = 0) -> int:
        """Blocks that it has not, for all its known tokens and some more."""
        return max(0, self.n_blocks_of(sequence, n_more) - len(sequence.block_ids))

    def grow(self, sequence: Sequence, n_more: int = 0) -> None:
        """Blocks for what it has learnt since, and for some more."""
        n_lacking = self.n_lacking(sequence, n_more)
        if n_lacking > 0:
            sequence.block_ids += self.pool.allocate(n_lacking)

    def register(self, sequence: Sequence) -> None:
        """Let others find the blocks that are computed to their end."""
        n_full = sequence.n_computed // self._block_size
        if not self._prefix_caching or n_full <= sequence.n_registered:
            return
        digests = sequence.chain.digests(sequence.token_ids, n_full)
        for i in range(sequence.n_registered, n_full):
            self.pool.register(sequence.block_ids[i], digests[i])
        sequence.n_registered = n_full

    def give_back(self, sequence: Sequence) -> None:
        """Hold nothing."""
        self.pool.free(sequence.block_ids)
        sequence.block_ids = []
        sequence.n_registered = 0
