"""Keeps a message from forging what only the template may write, such as `<|im_end|>`.

A special token's text in a message is just text. The tokenizer cannot know, so the text is marked
inside before the template renders it, and cut at the marks before it is encoded: a token cut in two
is no token.
"""

import re
from collections import defaultdict
from collections.abc import Iterable

MARK = "\ufdd0"  # a Unicode noncharacter: for internal use, in no text that is interchanged


class ControlTokens:
    """The special tokens of a vocabulary."""

    def __init__(self, tokens: Iterable[str]) -> None:
        rests: dict[str, list[str]] = defaultdict(list)
        for token in tokens:
            if len(token) > 1:
                rests[token[0]].append(re.escape(token[1:]))
        # Each match is one character, so that tokens that overlap are all cut.
        branches = [f"{re.escape(first)}(?={'|'.join(rest)})" for first, rest in rests.items()]
        self._start = re.compile("|".join(branches) or "(?!)")

    def mark(self, text: str) -> str:
        """The text with a mark inside every special token; marks it had before are dropped."""
        return self._start.sub(rf"\g<0>{MARK}", text.replace(MARK, ""))

    def cut(self, rendered: str) -> list[str]:
        """The pieces to encode one by one; almost always just one."""
        return [piece for piece in rendered.split(MARK) if piece] or [""]
