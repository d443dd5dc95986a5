"""KV blocks are free or counted by who holds them, and found again by what they hold."""

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


def test_a_finished_block_is_found_while_held_and_after_and_shared() -> None:
    pool = BlockPool(4)
    held = pool.allocate(3)
    for block_id, digest in zip(held, (b"a", b"b"), strict=False):
        pool.register(block_id, digest)
    assert pool.find([b"a", b"b", b"c"], 3) == held[:2]
    assert pool.find([b"x", b"b"], 2) == []
    pool.share(held[:2])
    pool.free(held)
    assert (pool.n_held, pool.n_cached) == (2, 0)
    pool.free(held[:2])
    assert (pool.n_held, pool.n_cached) == (0, 2)
    assert pool.find([b"a", b"b"], 1) == held[:1]


def test_blank_blocks_go_first_then_what_was_used_longest_ago_its_tail_before_its_head() -> None:
    pool = BlockPool(5)
    old, new = pool.allocate(2), pool.allocate(2)
    for block_id, digest in zip(old + new, (b"o1", b"o2", b"n1", b"n2"), strict=True):
        pool.register(block_id, digest)
    pool.free(old)
    pool.free(new)
    assert pool.allocate(1) == [4]
    assert pool.allocate(3) == [old[1], old[0], new[1]]
    assert pool.find([b"o1"], 1) == []
    assert pool.find([b"n1", b"n2"], 2) == new[:1]


def test_of_two_blocks_with_the_same_content_the_first_is_found() -> None:
    pool = BlockPool(4)
    first, second = pool.allocate(2)
    pool.register(first, b"a")
    pool.register(second, b"a")
    pool.free([first])
    pool.free([second])
    assert pool.n_cached == 1
    assert pool.find([b"a"], 1) == [first]
