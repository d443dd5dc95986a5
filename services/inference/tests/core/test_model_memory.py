"""Idle versions make room, the one used longest ago first; those in use never do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir_inference.core.model_memory import LoadedVersion, NoRoom, unloads_for
from weir_inference.core.model_versions import VersionKey

NEW = VersionKey("new", 1)
LOADED = st.lists(
    st.builds(
        LoadedVersion,
        key=st.builds(VersionKey, st.sampled_from("abc"), st.integers(1, 4)),
        memory_mb=st.integers(0, 60),
        used_at_s=st.integers(0, 5).map(float),
        n_users=st.integers(0, 1),
        pinned=st.booleans(),
    ),
    unique_by=lambda one: one.key,
    max_size=8,
)


@settings(max_examples=300, deadline=None)
@given(LOADED, st.integers(0, 120), st.integers(0, 200))
def test_room_is_made_within_the_budget_by_idle_versions_that_have_to_go(
    loaded: list[LoadedVersion], needed_mb: int, budget_mb: int
) -> None:
    by_key = {one.key: one for one in loaded}
    held_mb = sum(one.memory_mb for one in loaded)
    kept_mb = sum(one.memory_mb for one in loaded if one.n_users or one.pinned)
    try:
        going = [by_key[key] for key in unloads_for(NEW, needed_mb, loaded, budget_mb)]
    except NoRoom:
        assert kept_mb + needed_mb > budget_mb, "refused only where nothing could be done"
        return
    left_mb = held_mb - sum(one.memory_mb for one in going)
    assert left_mb + needed_mb <= budget_mb
    assert all(one.n_users == 0 and not one.pinned for one in going)
    assert all(left_mb + one.memory_mb + needed_mb > budget_mb for one in going), "none for nothing"
    assert going == sorted(going, key=lambda one: (one.used_at_s, one.key))


def test_the_one_used_longest_ago_goes() -> None:
    loaded = [LoadedVersion(VersionKey("m", v), 40, float(10 - v)) for v in (1, 2, 3)]
    assert unloads_for(NEW, 30, loaded, 130) == (VersionKey("m", 3),)
    assert unloads_for(NEW, 10, loaded, 130) == ()


def test_a_small_one_stays_where_a_large_one_makes_room_alone() -> None:
    small = LoadedVersion(VersionKey("small", 1), 1, 1.0)
    large = LoadedVersion(VersionKey("large", 1), 90, 2.0)
    assert unloads_for(NEW, 90, [small, large], 100) == (large.key,)


def test_a_refusal_gives_the_numbers() -> None:
    loaded = [LoadedVersion(VersionKey("m", 1), 40, 1.0, n_users=1)]
    with pytest.raises(NoRoom, match="new@1 needs 80 MiB; the budget is 100 MiB, and 40 MiB"):
        unloads_for(NEW, 80, loaded, 100)
