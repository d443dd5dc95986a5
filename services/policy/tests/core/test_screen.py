"""The promise: released text does not depend on the cuts, and nothing forbidden is in it."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir_policy.core.finding import Action, Where
from weir_policy.core.rules import Rule
from weir_policy.core.rules_file import read_rules
from weir_policy.core.screen import FINDINGS_MAX, Released, Screen, screen_whole

WORDS = ["nightjar", "night", "jar of jam", "夜鹰", "ΟΔΟΣ", "c++", "a", "ab ba"]


def rules_of(action: str, *names: str) -> tuple[Rule, ...]:
    items = [f"{{rule: {n}, action: {action}, where: output}}" for n in names if n != "keywords"]
    if "keywords" in names:
        items.append(f"{{rule: keywords, action: {action}, where: output, keywords: {WORDS}}}")
    return read_rules("rules: [" + ", ".join(items) + "]").output


ALL = ("email", "phone", "payment_card", "secrets", "keywords")
REDACT_ALL = rules_of("redact", *ALL)
MIXED = rules_of("redact", "email", "payment_card") + rules_of(
    "block", "phone", "secrets", "keywords"
)

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow4111111111111111\n-----END RSA PRIVATE KEY-----"
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
PLANTED = [
    *("ann@example.com", "ann.lee+x@mail.example.co.uk", "жук@почта.рф", "_a@b-c.xn--p1ai", "a@b"),
    *("+44 20 7946 0958", "+1 (415) 555-2671", "415-555-2671", "(415) 555.2671", "1-415-555-2671"),
    *("0044 20 7946 0958", "call 4155552671", "phone: 14155552671", "1763942400"),
    *("4111111111111111", "4111 1111 1111 1111", "3782-822463-10005", "6222021234567890128"),
    *("0.4111111111111111", "12345674111111111111111", "98765432109876543210"),
    *("4111 1111 1111 1112", "5500 4111 1111 1111 1111", "4111111111111111 05/29", "２０２６"),
    *("AKIAIOSFODNN7EXAMPLE", f"aws_secret_access_key = {AWS_SECRET}", AWS_SECRET),
    *("ghp_" + "a1B2" * 9, "github_pat_" + "A1b2_" * 10, "ghs_" + "z" * 35),
    *(PEM, PEM[:50], "-----BEGIN PRIVATE KEY-----", "-----", "-----BEGIN PUBLIC KEY-----"),
    *(
        "Nightjar",
        "nightjars",
        "a jar of jam",
        "代号夜鹰行动",
        "οδος",
        "οδοσ",
        "ΟΔΟΣ",
        "C++",
        "ab ba ba",
    ),
]
GLUE = [
    " ",
    "",
    "\n",
    ".",
    ",",
    "-",
    "+",
    "@",
    "(",
    "1",
    "4",
    "g",
    "A",
    "the rain ",
    "In 2026 ",
    "é",
    "夜",
]
ALPHABETS = [
    "a@.-",
    "14 -",
    "+0123456789 ().-/",
    "gh_pAKISaws/+ ",
    "-BEGINPRVATKY ",
    "night jarβς夜",
]


def texts() -> st.SearchStrategy[str]:
    """Secrets and near misses, side by side and in noise made of the characters they consist of."""
    noise = st.one_of(*(st.text(alphabet=a, max_size=12) for a in ALPHABETS), st.text(max_size=5))
    pieces = st.sampled_from(PLANTED) | st.sampled_from(GLUE) | noise
    return st.lists(pieces, max_size=12).map("".join)


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(edges)]


def stream(rules: tuple[Rule, ...], chunks: list[str]) -> tuple[list[Released], Released]:
    screen = Screen(rules, Where.OUTPUT)
    steps = [screen.push(chunk) for chunk in chunks] + [screen.finish()]
    return steps, Released(
        "".join(step.text for step in steps),
        tuple(finding for step in steps for finding in step.findings),
        steps[-1].screened_chars,
        steps[-1].blocked_by,
    )


@pytest.mark.parametrize("rules", [REDACT_ALL, MIXED], ids=["redact", "mixed"])
@given(text=texts(), places=st.lists(st.integers(0, 400), max_size=12))
@settings(max_examples=400, deadline=None)
def test_released_text_and_findings_do_not_depend_on_the_cuts(
    rules: tuple[Rule, ...], text: str, places: list[int]
) -> None:
    whole = screen_whole(rules, Where.OUTPUT, text)
    steps, streamed = stream(rules, cut(text, places))
    assert streamed == whole
    assert [s.screened_chars for s in steps] == sorted(s.screened_chars for s in steps)


@pytest.mark.parametrize("name", ALL)
@given(text=texts())
@settings(max_examples=150, deadline=None)
def test_each_rule_alone_does_not_depend_on_the_cuts_even_character_by_character(
    name: str, text: str
) -> None:
    rules = rules_of("redact", name)
    assert stream(rules, list(text))[1] == screen_whole(rules, Where.OUTPUT, text)


@given(text=texts(), extension=texts())
@settings(max_examples=300, deadline=None)
def test_what_is_released_early_is_what_any_longer_text_releases(text: str, extension: str) -> None:
    early = Screen(MIXED, Where.OUTPUT).push(text)
    whole = screen_whole(MIXED, Where.OUTPUT, text + extension)
    assert whole.text.startswith(early.text)
    assert whole.findings[: len(early.findings)] == early.findings


@pytest.mark.parametrize("secret", PLANTED)
@pytest.mark.parametrize("frame", ["{}", "Hello. It is {}, and more text.", "x: {}\n\n- 1", "({})"])
def test_a_secret_cut_at_any_place_never_gets_out(secret: str, frame: str) -> None:
    text = frame.format(secret)
    # All rules together keep the most context that one of them needs: each must do alone as well.
    for rules in (REDACT_ALL, *(rules_of("redact", name) for name in ALL)):
        whole = screen_whole(rules, Where.OUTPUT, text)
        assert bool(whole.findings) == (secret not in whole.text)
        for place in range(len(text) + 1):
            assert stream(rules, [text[:place], text[place:]])[1] == whole
        assert stream(rules, list(text))[1] == whole


def test_a_card_cut_into_any_three_chunks_never_gets_out() -> None:
    text = "Pay 4111-1111 1111 1111 now"
    for first in range(len(text) + 1):
        for second in range(first, len(text) + 1):
            streamed = stream(REDACT_ALL, [text[:first], text[first:second], text[second:]])[1]
            assert streamed.text == "Pay [payment_card] now"


def test_block_releases_nothing_from_the_match_on() -> None:
    rules = rules_of("block", "keywords")
    steps, whole = stream(rules, list("we met the nightjar at noon, and the night was long"))
    assert whole.text == "we met the "
    assert whole.blocked_by == "keywords"
    assert whole.screened_chars == len("we met the ")
    assert [(f.rule, f.action, f.start) for f in whole.findings] == [("keywords", Action.BLOCK, 11)]
    assert {step.text for step in steps if step.blocked_by} == {""}


def test_matches_that_overlap_are_covered_together() -> None:
    rules = rules_of("redact", "email", "phone")
    text = "write 415-555-2671@example.com"
    whole = screen_whole(rules, Where.OUTPUT, text)
    assert "2671" not in whole.text
    assert "example" not in whole.text


def test_a_block_inside_of_a_redaction_still_blocks() -> None:
    rules = rules_of("redact", "email") + rules_of("block", "keywords")
    whole = screen_whole(rules, Where.OUTPUT, "write to jim.night@example.com today")
    assert whole.text == "write to [email]"
    assert whole.blocked_by == "keywords"


def test_where_both_begin_block_goes_before_redact() -> None:
    text = "night@example.com"
    for rules in (
        rules_of("redact", "email") + rules_of("block", "keywords"),
        rules_of("redact", "keywords") + rules_of("block", "email"),
    ):
        whole = screen_whole(rules, Where.OUTPUT, text)
        assert (whole.text, whole.screened_chars, len(whole.findings)) == ("", 0, 1)


def test_prose_flows_with_a_hold_of_one_word() -> None:
    text = "The miller had sons; in 1812 the youngest went (alone) to see 7 kings - and a fox.\n"
    screen, released, widest = Screen(REDACT_ALL, Where.OUTPUT), 0, 0
    for place, character in enumerate(text, 1):
        released += len(screen.push(character).text)
        widest = max(widest, place - released)
    assert widest <= len("youngest") + 1


def test_text_without_rules_flows_at_once() -> None:
    assert Screen((), Where.OUTPUT).push("4111 1111").text == "4111 1111"


@pytest.mark.parametrize(
    "unit", ["a", "1", "1 ", "a@", "-", "-----BEGIN PRIVATE KEY-----", "+1 ", "AKIA", "gh"]
)
def test_memory_is_bounded_whatever_comes(unit: str) -> None:
    screen = Screen(REDACT_ALL, Where.OUTPUT)
    bound = max(rule.detector.longest + rule.detector.context for rule in REDACT_ALL) + 4096
    chunk = unit * (4096 // len(unit))
    for _ in range(20):
        screen.push(chunk)
        assert len(screen._tail) <= bound


def test_findings_are_bounded_but_redaction_goes_on() -> None:
    whole = screen_whole(REDACT_ALL, Where.OUTPUT, "a@b.com " * (FINDINGS_MAX + 5))
    assert len(whole.findings) == FINDINGS_MAX
    assert whole.text == "[email] " * (FINDINGS_MAX + 5)


def test_offsets_count_code_points() -> None:
    whole = screen_whole(REDACT_ALL, Where.OUTPUT, "😀é ann@example.com")
    assert [(f.rule, f.start, f.end) for f in whole.findings] == [("email", 3, 18)]
