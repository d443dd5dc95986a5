"""KV blocks are free or held once."""

import pytest

from weir_inference.core.block_pool import BlockPool


def test_blocks_come_and_go() -> None:
    pool = BlockPool(4)
    held = pool.allocate(3)
    assert len(set(held)) == 3
    assert (pool.n_free, pool.n_held) == (1, 3)
    pool.free(held)
    assert (pool.n_free, pool.n_held) == (4, 0)


def test_giving_a_block_back_twice_is_a_fault() -> None:
    pool = BlockPool(4)
    held = pool.allocate(1)
    pool.free(held)
    with pytest.raises(AssertionError, match="twice"):
        pool.free(held)


def test_the_block_freed_last_is_given_out_first() -> None:
    pool = BlockPool(8)
    held = pool.allocate(3)
    pool.free(held[:1])
    assert pool.allocate(1) == held[:1]
