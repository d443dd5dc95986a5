"""What each detector finds, what it leaves alone, and where its matches begin and end."""

import sys

import pytest

from weir_policy.core.detector import Detector
from weir_policy.core.detectors.keywords import Keywords, fold
from weir_policy.core.detectors.payment_card import passes_luhn
from weir_policy.core.detectors.private_key import BLOCK_CHARS_MAX
from weir_policy.core.rules import DETECTORS


def found(rule: str, text: str) -> list[str]:
    detectors = [make() for make in DETECTORS[rule]]
    return sorted(
        text[start:end]
        for detector in detectors
        for start, end in detector.scan(text, 0, final=True)[0]
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to ann@example.com.", ["ann@example.com"]),
        ("<ann.lee+x@mail.example.co.uk>", ["ann.lee+x@mail.example.co.uk"]),
        ("жук@почта.рф и josé@example.es", ["josé@example.es", "жук@почта.рф"]),
        ("联系邮箱是ann@example.com谢谢", ["ann@example.com"]),
        ("a@b-c.xn--p1ai", ["a@b-c.xn--p1ai"]),
        ("x" * 80 + "@example.com", ["x" * 64 + "@example.com"]),
        ("@ann and a @ b and user@localhost and a@b.c", []),
        ("ann@" + "d" * 64 + ".com", []),
    ],
)
def test_email(text: str, expected: list[str]) -> None:
    assert found("email", text) == expected


@pytest.mark.parametrize(
    "number",
    [
        *("+44 20 7946 0958", "+442079460958", "+49 (0)30 123456-78", "+86 138 1234 5678"),
        *("+1 415 555 2671", "+14155552671", "+1 (415) 555-2671", "+46 (0)8 928 571 38"),
        *("0044 20 7946 0958", "001-518-640-0854"),
        *("415-555-2671", "415.555.2671", "415 555 2671", "(415) 555-2671", "(415)555-2671"),
        *("1-415-555-2671", "1 (415) 555-2671", "123-456-7890"),
    ],
)
def test_phone_finds_a_whole_number(number: str) -> None:
    assert found("phone", f"ring {number}, please") == [number]
    assert found("phone", number) == [number]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("call 4155552671", ["4155552671"]),
        ("Phone: 14155552671.", ["14155552671"]),
        ("order 4155552671", []),
        ("at 1763942400 or 1763942400123", []),
        ("2026-11-23 12:30, 192.168.100.1, 3.141592653589793", []),
        ("1 000 000 000 and 123 456 789", []),
        ("+1 415 555 26711 and +12345678901234567", []),
        ("ISBN 978-0-306-40615-7 and 123-45-6789", []),
    ],
)
def test_phone_keeps_false_alarms_down(text: str, expected: list[str]) -> None:
    assert found("phone", text) == expected


@pytest.mark.parametrize(
    "number",
    [
        *("4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", "4222222222222"),
        *("4111 1111-1111  1111", "4111 - 1111 - 1111 - 1111", "4111\u00a01111\u20101111 1111"),
        *("378282246310005", "3782 822463 10005", "5555555555554444", "2223003122003222"),
        *("6011111111111117", "30569309025904", "3056 930902 5904", "3530111333300000"),
        *("6222021234567890128", "4111111111111111110", "４１１１１１１１１１１１１１１１"),
    ],
)
def test_payment_card_finds_a_whole_number(number: str) -> None:
    for text in (number, f"pay {number} now", f"x{number}y", f"12 {number}", f"{number} 05/29"):
        assert found("payment_card", text) == [number]


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",  # check digit
        "1234567812345670",  # nobody's prefix
        "41111111111111111111111",  # too long
        "0.4111111111111111",  # a fraction
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "4111\n1111\n1111\n1111",
        "2001 2002 2003 2004 2005 2006",
    ],
)
def test_payment_card_keeps_false_alarms_down(text: str) -> None:
    assert found("payment_card", text) == []


def test_payment_cards_that_share_groups_are_all_found() -> None:
    assert (
        found("payment_card", "4111 1111 1111 1111 4111 1111 1111 1111")
        == ["4111 1111 1111 1111"] * 2
    )


def test_luhn_finds_every_wrong_digit() -> None:
    number = "4539578763621486"
    assert passes_luhn(number)
    for place, digit in enumerate(number):
        for other in set("0123456789") - {digit}:
            assert not passes_luhn(number[:place] + other + number[place + 1 :])


SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id AKIAIOSFODNN7EXAMPLE;", ["AKIAIOSFODNN7EXAMPLE"]),
        ("XAKIAIOSFODNN7EXAMPLE AKIAIOSFODNN7EXAMPLES", []),
        (f'aws_secret_access_key = "{SECRET}"', [SECRET]),
        (f"AKIAIOSFODNN7EXAMPLE,{SECRET}", ["AKIAIOSFODNN7EXAMPLE", SECRET]),
        (f"the hash is {SECRET}", []),
        ("secret commit da39a3ee5e6b4b0d3255bfef95601890afd80709", []),
        ("ghp_" + "a1B2" * 9, ["ghp_" + "a1B2" * 9]),
        ("token=github_pat_" + "A1b2_" * 16, ["github_pat_" + "A1b2_" * 16]),
        ("ghp_short and github_pat_short", []),
    ],
)
def test_secrets(text: str, expected: list[str]) -> None:
    assert found("secrets", text) == expected


@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", "PGP "])
def test_private_key_goes_from_begin_to_end(kind: str) -> None:
    block = " BLOCK" if kind == "PGP " else ""
    key = f"-----BEGIN {kind}PRIVATE KEY{block}-----\nMIIE\n-----END {kind}PRIVATE KEY{block}-----"
    assert found("secrets", f"key:\n{key}\nthanks") == [key]


def test_private_key_without_end_goes_on_to_its_bound() -> None:
    text = "see -----BEGIN PRIVATE KEY-----" + "M" * BLOCK_CHARS_MAX
    assert found("secrets", text) == [text[4 : 4 + BLOCK_CHARS_MAX]]
    assert found("secrets", text[:100]) == [text[4:100]]


def test_a_public_key_passes() -> None:
    assert found("secrets", "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----") == []


@pytest.mark.parametrize(
    ("keyword", "text", "expected"),
    [
        ("Nightjar", "the NIGHTJAR sings", ["NIGHTJAR"]),
        ("night", "nightjar, midnight, night_", []),
        ("夜鹰", "代号夜鹰行动", ["夜鹰"]),
        ("C++", "learn c++17 (C++)", ["C++", "c++"]),
        ("ΟΔΟΣ", "οδος ΟΔΟΣ οδοσ", ["ΟΔΟΣ", "οδος", "οδοσ"]),
        ("istanbul", "İstanbul", ["İstanbul"]),
    ],
)
def test_keywords(keyword: str, text: str, expected: list[str]) -> None:
    spans, decided = Keywords([keyword]).scan(text, 0, final=True)
    assert sorted(text[start:end] for start, end in spans) == expected
    assert decided == len(text)


def test_keywords_that_overlap_are_all_found() -> None:
    spans, _ = Keywords(["red fox", "fox trot", "fox"]).scan("red fox trot", 0, final=True)
    assert spans == [(0, 7), (4, 7), (4, 12)]


def test_fold_keeps_every_character_in_its_place() -> None:
    for code in range(sys.maxunicode + 1):
        assert len(fold("x" + chr(code) + "y")) == 3


@pytest.mark.parametrize("make", [make for makers in DETECTORS.values() for make in makers])
def test_what_a_detector_holds_back_is_bounded_by_its_longest_match(make: type[Detector]) -> None:
    detector = make()
    for unit in (
        "a",
        "1",
        "A",
        "4111 ",
        "-----BEGIN PRIVATE KEY-----",
        "aws ",
        "ghp_",
        "+1(",
        "a@b.",
    ):
        text = unit * (20_000 // len(unit))
        assert detector.scan(text, 0, final=False)[1] >= len(text) - detector.longest
