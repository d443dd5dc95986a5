"""E-mail addresses: `ann@example.com`.

The local part and the domain may hold letters of the Latin, Greek and Cyrillic scripts, which put
spaces between words; in scripts that do not, an address would swallow the sentence before it.
Lengths are those of RFC 5321 §4.5.3.1. Quoted local parts and address literals are not looked for.
"""

import re

from weir_policy.core.detector import Span

NAME = "email"
LOCAL_CHARS_MAX = 64
DOMAIN_CHARS_MAX = 255
# Latin letters beyond ASCII, Greek and Cyrillic, without × and ÷.
LETTERS = "A-Za-zÀ-ÖØ-öø-ɏͰ-ӿ"
LOCAL = re.compile(rf"[{LETTERS}0-9._%+'\-]")
LOCAL_START = re.compile(rf"[{LETTERS}0-9_]")
# An `@` that a domain follows, or may follow when more text comes.
SIGN = re.compile(rf"@(?=[{LETTERS}0-9\-]{{1,63}}\.|[{LETTERS}0-9\-]{{0,63}}\Z)")
DOMAIN_RUN = re.compile(rf"[{LETTERS}0-9.\-]*")
LABEL = rf"[{LETTERS}0-9](?:[{LETTERS}0-9\-]{{0,61}}[{LETTERS}0-9])?"
DOMAIN = re.compile(rf"(?:{LABEL}\.)+(?:xn--[a-z0-9\-]{{1,59}}|[{LETTERS}]{{2,63}})")


class Email:
    """Finds e-mail addresses by their `@`; a `Detector`."""

    name = NAME
    longest = LOCAL_CHARS_MAX + 1 + DOMAIN_CHARS_MAX
    context = 0

    def scan(self, text: str, at: int, final: bool) -> tuple[list[Span], int]:
        """See `Detector.scan`. The word at the end is held back, since an `@` may follow it."""
        spans: list[Span] = []
        place = at
        while sign := SIGN.search(text, place):
            place = sign.end()
            start, last = _local_start(text, at, sign.start()), place + DOMAIN_CHARS_MAX
            if start == sign.start():
                continue
            run = DOMAIN_RUN.match(text, place, last)
            assert run is not None  # it may be empty
            if run.end() == len(text) < last and not final:
                return spans, start
            if domain := DOMAIN.match(text, place, last):
                spans.append((start, domain.end()))
                at = place = domain.end()
        return spans, len(text) if final else _local_start(text, at, len(text))


def _local_start(text: str, at: int, end: int) -> int:
    """Where the longest local part that ends at `end` starts; `end` if there is none."""
    lowest = max(at, end - LOCAL_CHARS_MAX)
    start = end
    while start > lowest and LOCAL.match(text, start - 1):
        start -= 1
    while start < end and not LOCAL_START.match(text, start):
        start += 1
    return start
