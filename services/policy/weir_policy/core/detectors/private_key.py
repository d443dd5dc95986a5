"""Private keys in PEM (RFC 7468) and PGP armour: from `-----BEGIN … PRIVATE KEY-----` to its END.

An END that never comes does not let a key out: the match then goes on to the end of the text, or to
`BLOCK_CHARS_MAX` characters.
"""

import re

from weir_policy.core.detector import Span
from weir_policy.core.pattern import Branch, Pattern, Step, literal

NAME = "private_key"
BLOCK_CHARS_MAX = 8192
LABEL_CHARS_MAX = 24
END = re.compile(rf"-----END [A-Z0-9 ]{{0,{LABEL_CHARS_MAX}}}PRIVATE KEY(?: BLOCK)?-----")


class PrivateKey:
    """Finds private key blocks; a `Detector`."""

    name = NAME
    longest = BLOCK_CHARS_MAX
    context = 0

    def __init__(self) -> None:
        begin = (
            *literal("-----BEGIN "),
            Step("[A-Z0-9 ]", 0, LABEL_CHARS_MAX),
            *literal("PRIVATE KEY"),
        )
        plain, armoured = literal("-----"), literal(" BLOCK-----")
        self._begin = Pattern(NAME, [Branch(begin + plain), Branch(begin + armoured)])

    def scan(self, text: str, at: int, final: bool) -> tuple[list[Span], int]:
        """See `Detector.scan`. From BEGIN on, everything is held back until the block ends."""
        spans: list[Span] = []
        while True:
            begin, decided = self._begin.first(text, at, final)
            if begin is None:
                return spans, decided
            start, body = begin
            limit = start + BLOCK_CHARS_MAX
            if end := END.search(text, body, limit):
                at = end.end()
            elif final or len(text) >= limit:
                at = min(len(text), limit)
            else:
                return spans, start
            spans.append((start, at))
