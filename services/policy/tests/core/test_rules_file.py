"""The rules file: what it may say, and that faults are told with their line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_policy.core.finding import Action
from weir_policy.core.rules import RULE_NAMES
from weir_policy.core.rules_file import RulesFileError, read_rules
from weir_policy.service import default_rules

LINE = "rules:\n- {rule: email, action: redact, where: output}\n"


def test_the_packaged_rules_redact_output_and_what_must_not_go_in() -> None:
    rules = default_rules()
    assert {rule.action for rule in (*rules.input, *rules.output)} == {Action.REDACT}
    assert {rule.detector.name for rule in rules.output} == {
        *("email", "phone", "payment_card", "private_key"),
        *("aws_access_key_id", "aws_secret_access_key", "github_token"),
    }
    assert {rule.detector.name for rule in rules.input} == {
        *("payment_card", "private_key"),
        *("aws_access_key_id", "aws_secret_access_key", "github_token"),
    }


def test_a_list_of_rules_may_be_empty() -> None:
    assert read_rules("rules: []").output == ()


def test_two_keyword_lists_may_have_two_actions() -> None:
    rules = read_rules(
        "rules:\n"
        "- {rule: keywords, action: block, where: both, keywords: [a]}\n"
        "- {rule: keywords, action: redact, where: output, keywords: [b, 12]}\n"
    )
    assert [rule.action for rule in rules.output] == [Action.BLOCK, Action.REDACT]
    assert len(rules.input) == 1


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "expected `rules:`"),
        ("- a", 1, "mapping"),
        ("rules: {}", 1, "`rules` is a list"),
        ("# nothing\nrule: []", 2, "`rule` is not known"),
        ("rules:\n- email", 2, "a rule is a mapping"),
        ("rules:\n- {rule: email}", 2, "`action` is missing"),
        ("rules:\n- rule: e-mail\n  action: redact\n  where: both", 2, "`e-mail` is not known"),
        ("rules:\n- rule: email\n  action: warn\n  where: both", 3, "expected `redact`, `block`"),
        ("rules:\n- rule: email\n  action: redact\n  where: in", 4, "`input`, `output`, `both`"),
        ("rules:\n- rule: email\n  rule: phone", 3, "given twice"),
        (LINE + "- {rule: email, action: block, where: both}", 3, "already, in line 2"),
        ("rules:\n- {rule: keywords, action: block, where: both}", 2, "`keywords` is missing"),
        ("rules:\n- {rule: email, action: block, where: both, keywords: [a]}", 2, "only the rule"),
        (
            "rules:\n- rule: keywords\n  action: block\n  where: both\n  keywords:\n  - ' '",
            6,
            "1 to 128",
        ),
        ("rules: [", 1, "not YAML"),
        ("rules:\n\t- a", 2, "not YAML"),
        ("rules: \x00", 1, "not YAML"),
        ("rules: " + "[" * 5000, 1, ""),
    ],
)
def test_a_fault_is_told_with_its_line(text: str, line: int, said: str) -> None:
    with pytest.raises(RulesFileError) as fault:
        read_rules(text)
    assert str(fault.value).startswith(f"line {line}: ")
    assert said in str(fault.value)


@given(st.text(max_size=200) | st.text(alphabet="rules:[]{}- \n\"'&*!email", max_size=100))
def test_any_text_is_read_or_refused_with_a_line(text: str) -> None:
    try:
        read_rules(text)
    except RulesFileError as fault:
        assert str(fault).startswith("line ")


def test_every_rule_name_is_accepted() -> None:
    for name in RULE_NAMES:
        words = ", keywords: [x]" if name == "keywords" else ""
        assert read_rules(f"rules: [{{rule: {name}, action: block, where: both{words}}}]").input
