"""Words that please and words that hurt: the weak teacher of weir-sentiment.

The word list is VADER's (C. Hutto and E. Gilbert, "VADER: A Parsimonious Rule-based Model for
Sentiment Analysis of Social Media Text", 2014; MIT licence). The rule is a short one in its spirit.
"""

import math
import random
import re
from dataclasses import dataclass

from weir_inference.training.wheels import wheel

WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
NEGATIONS = frozenset(
    WORD.findall(
        "not no never none nothing nobody neither nor hardly barely cannot without lack lacks "
        "don't doesn't didn't isn't wasn't aren't weren't won't wouldn't can't couldn't shouldn't "
        "hasn't haven't hadn't ain't",
    )
)
BOOSTERS = frozenset(
    WORD.findall("very really so extremely absolutely totally highly incredibly truly most too")
)
REACH = 3  # words over which a negation works
NORMAL = 15.0  # VADER's: scores of a sentence become shares by s / sqrt(s² + 15)


@dataclass(frozen=True)
class Lexicon:
    """The valence of single words, from -4 (hurts) to 4 (pleases)."""

    valence: dict[str, float]
    words: tuple[str, ...]

    def pleasure(self, text: str) -> float:
        """How likely a sentence pleases, from 0 to 1; 0.5 where it holds no known word."""
        total = 0.0
        words = WORD.findall(text.lower())
        for i, word in enumerate(words):
            value = self.valence.get(word, 0.0)
            before = words[max(0, i - REACH) : i]
            if not value:
                if word == "but":
                    total *= 0.5  # what comes after it counts for more
                continue
            if not NEGATIONS.isdisjoint(before):
                value *= -0.74
            if before and before[-1] in BOOSTERS:
                value *= 1.3
            total += value
        return 0.5 + 0.5 * total / math.sqrt(total * total + NORMAL)

    def planted(self, text: str, chance: random.Random) -> str:
        """The text with one to three of its words replaced by words of the list."""
        words = text.split(" ")
        for _ in range(chance.randint(1, 3)):
            words[chance.randrange(len(words))] = chance.choice(self.words)
        if chance.random() < 0.3:
            words.insert(chance.randrange(len(words)), chance.choice(sorted(NEGATIONS)))
        return " ".join(words)


def vader_lexicon() -> Lexicon:
    """VADER's list without emoticons, phrases and what is near neutral."""
    with wheel("vaderSentiment", "3.3.2") as package:
        lines = package.read("vaderSentiment/vader_lexicon.txt").decode().splitlines()
    pairs = (line.split("\t")[:2] for line in lines)
    valence = {w: float(v) for w, v in pairs if WORD.fullmatch(w) and abs(float(v)) >= 0.5}
    return Lexicon(valence, tuple(sorted(valence)))
