"""Phone numbers: international (`+44 20 7946 0958`, `0044 20 …`) and US (`(415) 555-2671`).

False alarms are kept down by form: a number of the plan +1 has eleven digits, others eight to
fifteen (ITU-T E.164); a US number has separators at the usual places; ten or eleven digits on their
own count only a few characters after a word such as `phone` or `call`.
"""

import re

from weir_policy.core.pattern import Branch, Pattern, Step, literal

NAME = "phone"
SPACES_AND_HYPHENS = " \u00a0\u2009\u202f\\-\u2010\u2011\u2012\u2013"
SEPARATOR = Step(f"[{SPACES_AND_HYPHENS}.]")
GAP = f"[{SPACES_AND_HYPHENS}.()/]{{0,2}}"
CUE_CHARS = 32
CUE = re.compile(
    r"(?i)\b(?:phone|telephone|tel|call|cell|mobile|fax|text|sms|whatsapp)\b[^\d\n]{0,16}\Z"
)


def _digits(least: int, most: int) -> Step:
    """Digits with up to two separators before each."""
    return Step(rf"(?:{GAP}\d)", least, most, partial=GAP, width=3)


def _three(digit: str = r"\d") -> tuple[Step, ...]:
    return (Step(digit), Step(r"\d", 2, 2))


def _us(country: tuple[Step, ...], *, parentheses: bool) -> Branch:
    area = _three()
    if parentheses:
        area = (*literal("("), *area, *literal(")"), Step(SEPARATOR.atom, 0, 1))
    else:
        area = (*area, SEPARATOR)
    # Not inside of a longer number, nor after `12.` or `12-`.
    not_after = (r"\d", r"\d[.\-]")
    return Branch((*country, *area, *_three(), SEPARATOR, Step(r"\d", 4, 4)), not_after)


INTERNATIONAL = (
    Branch((*literal("+1"), _digits(10, 10))),
    Branch((*literal("+"), Step("[2-9]"), _digits(7, 14))),
    Branch(
        (*literal("00"), Step("[1-9]"), Step(r"\d", 0, 2), SEPARATOR, _digits(6, 12)),
        not_after=(r"\d", r"\d[.,]"),
    ),
)
UNITED_STATES = (
    _us((*literal("1"), SEPARATOR), parentheses=False),
    _us((*literal("1"), Step(SEPARATOR.atom, 0, 1)), parentheses=True),
    _us((), parentheses=False),
    _us((), parentheses=True),
)


def formatted_phone() -> Pattern:
    """Finds phone numbers by how they are written."""
    return Pattern(NAME, INTERNATIONAL + UNITED_STATES, after=r"(?!\d)")


def announced_phone() -> Pattern:
    """Finds bare digits that a word before them says to be a phone number."""
    return Pattern(
        NAME,
        [Branch((Step(r"\d"), Step(r"\d", 9, 10)), not_after=(r"[\d+]", r"\d[.\-]"))],
        after=r"(?!\d)",
        context=CUE_CHARS + 1,
        begins=_announced,
    )


def _announced(text: str, start: int) -> bool:
    return CUE.search(text, max(0, start - CUE_CHARS), start) is not None
