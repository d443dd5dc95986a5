"""Policies choose among what is present; a name, an alias and a version mean what is there."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir_inference.core.model_versions import (
    AllVersions,
    Latest,
    Pinned,
    Reference,
    VersionKey,
    aliases_of,
    chosen,
    reference,
    resolve,
)
from weir_kit.errors import InvalidArgument, ModelNotFound

VERSIONS = st.frozensets(st.integers(1, 9))
ALIASES = st.sampled_from(["stable", "canary", "old"])


def test_policies_choose_among_the_present() -> None:
    present = [3, 1, 10]
    assert chosen(Latest(2), present) == (3, 10)
    assert chosen(Latest(9), present) == (1, 3, 10)
    assert chosen(Pinned((10, 4, 1)), present) == (1, 10)
    assert chosen(AllVersions(), present) == (1, 3, 10)
    assert chosen(Latest(), []) == ()


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("faces", Reference("faces")),
        ("team/faces@12", Reference("team/faces", version=12)),
        ("faces@stable", Reference("faces", alias="stable")),
    ],
)
def test_a_reference_is_a_name_a_version_or_an_alias(text: str, means: Reference) -> None:
    assert reference(text) == means


@pytest.mark.parametrize("text", ["", "@1", "faces@", "faces@0", "faces@01", "faces@A", "a@b@c"])
def test_other_references_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as told:
        reference(text)
    assert told.value.field == "model"


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.integers(1, 9), st.lists(ALIASES)),
    st.dictionaries(ALIASES, st.integers(1, 9)),
    VERSIONS,
)
def test_an_alias_points_to_what_is_present_and_operators_have_the_last_word(
    claimed: dict[int, list[str]], decided: dict[str, int], present: frozenset[int]
) -> None:
    aliases = aliases_of(claimed, decided, present)
    assert {*aliases.values()} <= present
    for alias, version in decided.items():
        if version in present:
            assert aliases[alias] == version
    for version, names in claimed.items():
        for alias in names:
            if version in present and decided.get(alias) not in present:
                assert aliases[alias] >= version, "of several that claim one, the highest has it"


def test_a_bare_name_means_stable_or_else_the_highest() -> None:
    assert resolve(Reference("m"), {}, [1, 3]) == VersionKey("m", 3)
    assert resolve(Reference("m"), {"stable": 1}, [1, 3]) == VersionKey("m", 1)
    assert resolve(Reference("m", version=3), {"stable": 1}, [1, 3]) == VersionKey("m", 3)
    assert resolve(Reference("m", alias="new"), {"new": 3}, [1, 3]) == VersionKey("m", 3)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (Reference("m", version=2), "version 2 of 'm' is not served; served: 1, 3"),
        (Reference("m", alias="new"), "'m' has no alias new; its aliases: gone, stable"),
        (Reference("m", alias="gone"), "version 9 of 'm' is not served"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(wanted: Reference, told: str) -> None:
    with pytest.raises(ModelNotFound, match=told):
        resolve(wanted, {"stable": 1, "gone": 9}, [1, 3])


def test_a_model_without_versions_is_not_found() -> None:
    with pytest.raises(ModelNotFound, match="no version of 'm'"):
        resolve(Reference("m"), {}, [])
