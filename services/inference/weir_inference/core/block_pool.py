"""Who holds which page of the KV cache, and which pages hold a known prefix."""

from collections import OrderedDict
from collections.abc import Sequence as ReadOnlyList


class BlockPool:
    """A fixed number of KV blocks, each held by a count of sequences.

    A block that has a digest (`register`) is full and never written again, so that any number may
    hold it. When nobody does, it is still found by its digest until its memory is needed: blocks
    without digest are handed out first (the one freed last before others, so that a quiet engine
    touches little memory), then those not used for longest.
    """

    def __init__(self, n_blocks: int) -> None:
        assert n_blocks > 0
        self.n_blocks = n_blocks
        self._holders = [0] * n_blocks
        self._digests: list[bytes | None] = [None] * n_blocks
        self._by_digest: dict[bytes, int] = {}
        self._blank = list(range(n_blocks - 1, -1, -1))
        self._cached: OrderedDict[int, None] = OrderedDict()  # held by nobody, oldest first

    @property
    def n_free(self) -> int:
        """Blocks that nobody holds."""
        return len(self._blank) + len(self._cached)

    @property
    def n_cached(self) -> int:
        """Those of the free blocks that still hold a known prefix."""
        return len(self._cached)

    @property
    def n_held(self) -> int:
        """Blocks that sequences hold; one that is shared counts once."""
        return self.n_blocks - self.n_free

    def holders(self, block_id: int) -> int:
        """How many sequences hold a block."""
        return self._holders[block_id]

    def digest(self, block_id: int) -> bytes | None:
        """The name of a block's content; None while it may be written."""
        return self._digests[block_id]

    def n_only_in(self, block_ids: ReadOnlyList[int]) -> int:
        """How many of a holder's blocks nobody else holds: what freeing them would give."""
        return sum(self._holders[block_id] == 1 for block_id in block_ids)

    def n_free_in(self, block_ids: ReadOnlyList[int]) -> int:
        """How many of these blocks nobody holds."""
        return sum(self._holders[block_id] == 0 for block_id in block_ids)

    def allocate(self, n: int) -> list[int]:
        """Hand out `n` blocks to write; the caller has looked at `n_free`."""
        assert 0 <= n <= self.n_free
        return [self._take_blank() for _ in range(n)]

    def find(self, digests: ReadOnlyList[bytes], n_max: int) -> list[int]:
        """The blocks of the longest known prefix, at most `n_max`; nobody holds them for that."""
        found = []
        for digest in digests[:n_max]:
            block_id = self._by_digest.get(digest)
            if block_id is None:
                break
            found.append(block_id)
        return found

    def share(self, block_ids: ReadOnlyList[int]) -> None:
        """Hold blocks just found, beside those who hold them already."""
        for block_id in block_ids:
            assert self._digests[block_id] is not None, "only finished blocks are shared"
            if self._holders[block_id] == 0:
                del self._cached[block_id]
            self._holders[block_id] += 1

    def register(self, block_id: int, digest: bytes) -> None:
        """Let a held block be found; its content is complete. The first of equal ones is kept."""
        assert self._holders[block_id] > 0
        if digest not in self._by_digest:
            assert self._digests[block_id] is None, "a block is named once"
            self._digests[block_id] = digest
            self._by_digest[digest] = block_id

    def free(self, block_ids: ReadOnlyList[int]) -> None:
        """Take one holder's blocks back, given in the order of its tokens.

        The deepest go first, so that they are evicted first: without its head, a prefix's tail
        could not be found.
        """
        for block_id in reversed(block_ids):
            assert self._holders[block_id] > 0, "a block was given back twice"
            self._holders[block_id] -= 1
            if self._holders[block_id] > 0:
                continue
            if self._digests[block_id] is None:
                self._blank.append(block_id)
            else:
                self._cached[block_id] = None

    def _take_blank(self) -> int:
        if self._blank:
            block_id = self._blank.pop()
        else:
            block_id, _ = self._cached.popitem(last=False)
            digest, self._digests[block_id] = self._digests[block_id], None
            assert digest is not None
            del self._by_digest[digest]
        assert self._holders[block_id] == 0, "a block was free and held"
        self._holders[block_id] = 1
        return block_id
