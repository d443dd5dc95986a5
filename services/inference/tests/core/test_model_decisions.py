"""What operators decide holds, survives being written down, and never points to nothing."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from weir_inference.core.model_decisions import ModelDecisions, from_document, to_document
from weir_inference.core.model_versions import AllVersions, Latest, Pinned, VersionPolicy
from weir_kit.errors import Conflict, InvalidArgument, ModelNotFound

VERSION = st.integers(1, 6)
ALIAS = st.sampled_from(["stable", "canary"])
POLICIES = (
    st.builds(Latest, st.integers(1, 256))
    | st.builds(lambda v: Pinned(tuple(sorted(v))), st.frozensets(VERSION))
    | st.just(AllVersions())
)
DECISIONS = st.builds(
    ModelDecisions,
    policy=POLICIES,
    loaded=st.frozensets(VERSION),
    unloaded=st.frozensets(VERSION),
    aliases=st.dictionaries(ALIAS, VERSION),
)


class Operators(RuleBasedStateMachine):
    """They decide in any order while versions come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.present = {1, 2}
        self.decisions = ModelDecisions()

    @rule(version=VERSION)
    def comes(self, version: int) -> None:
        self.present.add(version)

    @rule(version=VERSION)
    def goes(self, version: int) -> None:
        self.present.discard(version)
        self.decisions = self.decisions.without({version})
        assert version not in self.decisions.loaded | self.decisions.unloaded

    @rule(version=VERSION)
    def load(self, version: int) -> None:
        try:
            self.decisions = self.decisions.load(version, self.present)
        except ModelNotFound:
            assert version not in self.present
        else:
            assert version in self.decisions.wanted(self.present)

    @rule(version=VERSION)
    def unload(self, version: int) -> None:
        try:
            self.decisions = self.decisions.unload(version)
        except Conflict:
            assert version in self.decisions.aliases.values()
        else:
            assert version not in self.decisions.wanted(self.present)

    @rule(alias=ALIAS, version=VERSION)
    def point(self, alias: str, version: int) -> None:
        try:
            self.decisions = self.decisions.point(alias, version, self.present)
        except ModelNotFound:
            assert version not in self.present
        else:
            assert self.decisions.aliases[alias] == version

    @rule(alias=ALIAS)
    def drop(self, alias: str) -> None:
        if alias in self.decisions.aliases:
            self.decisions = self.decisions.drop_alias(alias)
        assert alias not in self.decisions.aliases

    @rule(policy=POLICIES)
    def choose(self, policy: VersionPolicy) -> None:
        self.decisions = replace(self.decisions, policy=policy)

    @invariant()
    def aliases_point_to_what_is_wanted(self) -> None:
        wanted = {*self.decisions.wanted(self.present)}
        assert {*self.decisions.aliases.values()} <= wanted <= self.present


TestOperators = Operators.TestCase
TestOperators.settings = settings(max_examples=100, deadline=None)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "team/b", "c.1"]), DECISIONS))
def test_decisions_survive_being_written_down(decisions: dict[str, ModelDecisions]) -> None:
    assert from_document(json.loads(json.dumps(to_document(decisions)))) == decisions


@settings(max_examples=100, deadline=None)
@given(DECISIONS, st.frozensets(VERSION))
def test_what_vanished_unnoticed_is_not_wanted(
    decisions: ModelDecisions, present: frozenset[int]
) -> None:
    wanted = {*decisions.wanted(present)}
    assert wanted <= present
    assert {*decisions.aliases.values()} & present <= wanted


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ([], "must be a mapping"),
        ({"models": {}}, "format is missing"),
        ({"format": 2, "models": {}}, r"format must be 1\.\.1"),
        ({"format": 1, "models": {"a b": {}}}, "models must have models' names"),
        ({"format": 1, "models": {"a": {"latest": 0}}}, r"models\.a\.latest must be 1\.\.256"),
        ({"format": 1, "models": {"a": {"latest": 1, "all": True}}}, "must have one of"),
        ({"format": 1, "models": {"a": {"loaded": [0]}}}, r"models\.a\.loaded must be whole"),
        ({"format": 1, "models": {"a": {"aliases": {"B": 1}}}}, "must have aliases as keys"),
        ({"format": 1, "models": {"a": {"aliases": {"b": 0}}}}, r"aliases\.b must be 1"),
        ({"format": 1, "models": {"a": {"aliases": {"b": None}}}}, r"aliases\.b is missing"),
    ],
)
def test_another_document_is_refused_by_its_key(raw: object, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        from_document(raw)


def test_what_cannot_be_an_alias_is_refused() -> None:
    with pytest.raises(InvalidArgument) as told:
        ModelDecisions().point("Stable", 1, [1])
    assert told.value.field == "alias"


def test_dropping_an_alias_that_was_not_set_is_told() -> None:
    with pytest.raises(ModelNotFound, match="stable"):
        ModelDecisions().drop_alias("stable")


def test_decisions_on_a_model_are_bounded() -> None:
    present = range(1, 1000)
    decisions = ModelDecisions()
    with pytest.raises(Conflict, match="at most 256"):
        for version in present:
            decisions = decisions.load(version, present)
    assert len(decisions.loaded) == 256
    with pytest.raises(Conflict, match="at most 64"):
        for i in range(100):
            decisions = decisions.point(f"a{i}", 1, present)
