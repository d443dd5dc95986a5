"""Words from a list, found all at once by the automaton of Aho and Corasick (CACM 18(6), 1975).

Upper and lower case are the same. A keyword is found as a whole word; where its script puts no
spaces between words (Chinese, Japanese, Thai, …) it is found anywhere.
"""

from collections.abc import Iterable

import ahocorasick

from weir_policy.core.detector import Span

NAME = "keywords"
KEYWORD_CHARS_MAX = 128
# Scripts from Thai on put no spaces between words, or, as Korean, attach endings to them.
FIRST_UNSPACED = "\u0e00"


class Keywords:
    """Finds the words of a list; a `Detector`."""

    name = NAME
    context = 1

    def __init__(self, keywords: Iterable[str]) -> None:
        self._automaton = ahocorasick.Automaton(ahocorasick.STORE_INTS)
        self.longest = 0
        for keyword in map(fold, keywords):
            assert 0 < len(keyword) <= KEYWORD_CHARS_MAX
            self._automaton.add_word(keyword, len(keyword))
            self.longest = max(self.longest, len(keyword))
        self._automaton.make_automaton()

    def scan(self, text: str, at: int, final: bool) -> tuple[list[Span], int]:
        """See `Detector.scan`. Held back is only what a keyword begins with."""
        if not self.longest:
            return [], len(text)
        folded = fold(text)
        decided = len(folded) if final else self._decided(folded, at)
        whole: list[Span] = []
        for last, length in self._automaton.iter(folded, at, len(folded)):
            start, end = last + 1 - length, last + 1
            if start < decided and _is_edge(folded, start) and _is_edge(folded, end):
                whole.append((start, end))
        return sorted(whole), decided

    def _decided(self, folded: str, at: int) -> int:
        for start in range(max(at, len(folded) - self.longest), len(folded)):
            if _is_edge(folded, start) and self._automaton.match(folded[start:]):
                return start
        return len(folded)


def fold(text: str) -> str:
    """The text in lower case, character by character, so that places in it stay the same.

    `str.lower` lengthens İ, and chooses between σ and ς by what comes after.
    """
    if text.isascii():
        return text.lower()
    return text.replace("İ", "i").lower().replace("ς", "σ")


def _is_edge(folded: str, place: int) -> bool:
    """Whether a word may begin or end between the characters before and after `place`."""
    if not 0 < place < len(folded):
        return True
    before, after = folded[place - 1], folded[place]
    return not (_is_spaced_letter(before) and _is_spaced_letter(after))


def _is_spaced_letter(character: str) -> bool:
    return character < FIRST_UNSPACED and (character.isalnum() or character == "_")
