"""What llguidance says of a wrong grammar, without what the caller wrote."""

import re
from collections.abc import Sequence

LENGTH_MAX = 200
# Words that say nothing of a caller's text, though they stand in it.
PLAIN = frozenset(
    re.findall(
        r"\w+",
        """
        a an and any are at be character characters class common compile constraints contain does
        empty error expected failed fetch field following for found grammar group in input invalid
        is it json key keys least lexer limit limits line literal look name nested no not of on only
        or parse parser pattern pointer property range regex repetition resource retrieving rule
        schema sequence start supported syntax the this to token too type unclosed unexpected
        unimplemented unknown unsatisfiable unsupported value while with
        additionalItems additionalProperties allOf anyOf array boolean const contains definitions
        dependencies dependentRequired dependentSchemas else enum exclusiveMaximum exclusiveMinimum
        false format if integer items maxContains maxItems maxLength maxProperties maximum
        minContains minItems minLength minProperties minimum multipleOf null number object oneOf
        patternProperties prefixItems properties propertyNames ref required string then true
        unevaluatedItems unevaluatedProperties uniqueItems
        """,
    )
)


def reason_of(error: str, texts: Sequence[str]) -> str:
    """The error's line that says what is wrong; every word of the caller's is `…` in it."""
    lines = [
        line.removeprefix("error: ") for line in error.splitlines() if line.startswith("error:")
    ]
    line = lines[-1] if lines else error.split("\n", 1)[0]
    written = "\n".join(texts).lower()
    words = set(re.findall(r"\w+", written))

    def hidden(found: re.Match[str]) -> str:
        word = found[0].lower()
        # Part of a word, too: where an error escapes a letter, the rest of the word stands bare.
        theirs = word in words or (len(word) > 2 and word in written)
        return "…" if theirs and PLAIN.isdisjoint((word, found[0])) else found[0]

    plain = re.sub(r"\w+", hidden, line[: 4 * LENGTH_MAX])
    return "not a grammar that can be followed: " + plain[:LENGTH_MAX]
