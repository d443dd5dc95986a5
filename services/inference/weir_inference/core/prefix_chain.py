"""Names for the contents of KV blocks, so that equal prefixes find each other.

A block's keys and values depend on every token before it, so its digest is that of its tokens and
of the digest before it: equal digests mean equal prefixes. The root is a salt: sequences of
different tenants or adapters never share, so nobody can time what another tenant has asked.
"""

from array import array
from collections.abc import Sequence as ReadOnlyList
from hashlib import blake2b

DIGEST_BYTES = 16


class PrefixChain:
    """The digests of one sequence's full blocks; each is computed once."""

    def __init__(self, salt: tuple[str | int | None, ...], block_size: int) -> None:
        self._block_size = block_size
        self._root = _digest(repr(salt).encode())
        self._digests: list[bytes] = []

    def digests(self, token_ids: ReadOnlyList[int], n_blocks: int) -> ReadOnlyList[bytes]:
        """Of at least the first `n_blocks` blocks of `token_ids`, which only ever grow."""
        known, size = self._digests, self._block_size
        assert n_blocks * size <= len(token_ids), "only a full block has a name"
        while len(known) < n_blocks:
            first = len(known) * size
            content = array("I", token_ids[first : first + size]).tobytes()
            known.append(_digest((known[-1] if known else self._root) + content))
        return known


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=DIGEST_BYTES).digest()
