"""Payment cards: 13 to 19 digits, grouped or not, with an issuer's prefix and a check digit.

Groups have four digits or more, but for the last, so that lists of small numbers are not taken for
cards. Check digit: ISO/IEC 7812-1 annex B (Luhn). Prefixes and lengths: the issuers' ranges.
"""

import re
from functools import cache

from weir_policy.core.detector import Span

NAME = "payment_card"
DIGITS_MIN = 13
DIGITS_MAX = 19
GROUP_DIGITS_MIN = 4
GAP_CHARS_MAX = 3
PREFIX_DIGITS_MAX = 4
# A group that a card may begin with: not a fraction, and long enough or at the text's end.
GROUP_START = re.compile(
    rf"\d(?<!\d\d)(?<!\d[.]\d)(?:\d{{{GROUP_DIGITS_MIN - 1}}}|\d{{0,{GROUP_DIGITS_MIN - 2}}}\Z)"
)
GROUP = re.compile(rf"\d{{1,{DIGITS_MAX + 1}}}")
GAP = re.compile(rf"[ \t\u00a0\u2009\u202f\-\u2010-\u2013]{{0,{GAP_CHARS_MAX}}}")
DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)  # the sum of the digits of 2 * d
ANY_LENGTH = frozenset(range(DIGITS_MIN, DIGITS_MAX + 1))
DINERS = frozenset(range(14, DIGITS_MAX + 1))
LONG = frozenset(range(16, DIGITS_MAX + 1))

# First and last prefix of each range, and how many digits its numbers have.
ISSUERS: tuple[tuple[str, str, frozenset[int]], ...] = (
    ("1800", "1800", frozenset({15})),  # JCB
    ("2131", "2131", frozenset({15})),
    ("2200", "2204", LONG),  # Mir
    ("2221", "2720", frozenset({16})),  # Mastercard
    ("300", "305", DINERS),  # Diners Club
    ("3095", "3095", DINERS),
    ("34", "34", frozenset({15})),  # American Express
    ("35", "35", LONG),  # JCB
    ("36", "36", DINERS),  # Diners Club
    ("37", "37", frozenset({15})),  # American Express
    ("38", "39", DINERS),  # Diners Club
    ("4", "4", frozenset({13, 16, 19})),  # Visa
    ("50", "50", ANY_LENGTH),  # Maestro
    ("51", "55", frozenset({16})),  # Mastercard
    ("56", "58", ANY_LENGTH),  # Maestro
    ("6", "6", ANY_LENGTH),  # Discover, UnionPay, Maestro, RuPay
    ("81", "82", LONG),  # UnionPay, RuPay
    ("9792", "9792", frozenset({16})),  # Troy
)


class PaymentCard:
    """Finds payment card numbers; a `Detector`. Digits of any script count."""

    name = NAME
    longest = DIGITS_MAX + (DIGITS_MAX // GROUP_DIGITS_MIN) * GAP_CHARS_MAX
    context = 2

    def scan(self, text: str, at: int, final: bool) -> tuple[list[Span], int]:
        """See `Detector.scan`. Cards that share groups are all found."""
        spans: list[Span] = []
        while found := GROUP_START.search(text, at):
            start = found.start()
            end, decided = _card_end(text, start, final)
            if not decided:
                return spans, start
            if end:
                spans.append((start, end))
            at = start + 1
        return spans, len(text)


def _card_end(text: str, start: int, final: bool) -> tuple[int, bool]:
    """Where the longest card from `start` ends, or 0; and whether more text changes nothing."""
    digits, at, end = "", start, 0
    while group := GROUP.match(text, at):
        digits += _ascii(group.group())
        lengths = issued_lengths(digits[:PREFIX_DIGITS_MAX])
        if not lengths or len(digits) > max(lengths):
            break
        if group.end() == len(text) and not final:
            return 0, False
        if len(digits) in lengths and passes_luhn(digits):
            end = group.end()
        gap = GAP.match(text, group.end())
        assert gap is not None  # it may be empty
        at = gap.end()
        if len(group.group()) < GROUP_DIGITS_MIN or at == group.end() or len(digits) == DIGITS_MAX:
            break
        if at == len(text) and not final:
            return 0, False
    return end, True


@cache  # of 11,111 prefixes at most
def issued_lengths(prefix: str) -> frozenset[int]:
    """How many digits a card may have that begins with `prefix`, of four digits or fewer."""
    assert len(prefix) <= PREFIX_DIGITS_MAX
    fitting = [
        lengths
        for low, high, lengths in ISSUERS
        if low[: len(prefix)] <= prefix[: len(low)] <= high[: len(prefix)]
    ]
    return frozenset().union(*fitting)


def passes_luhn(digits: str) -> bool:
    """Whether the last digit is the Luhn check digit of the others."""
    values = [int(digit) for digit in reversed(digits)]
    return (sum(values[0::2]) + sum(DOUBLED[value] for value in values[1::2])) % 10 == 0


def _ascii(digits: str) -> str:
    return digits if digits.isascii() else "".join(str(int(digit)) for digit in digits)
