"""Keys of Amazon Web Services: access key ids (`AKIA…`), and their secrets in context.

A secret is forty characters of base 64 without a mark of its own, so it counts only a few words
after `aws`, `secret`, `access` or an access key id, and only if letters of both cases are in it (a
SHA-1 in hexadecimal has one).
"""

from weir_policy.core.pattern import Branch, Pattern, Step, literal

CONTEXT_CHARS = 96
CUES = ("aws", "secret", "access", "akia", "asia")


def aws_access_key_id() -> Pattern:
    """Finds access key ids: `AKIA` (long-lived) or `ASIA` (temporary), then 16 characters."""
    steps = (*literal("A"), Step("[KS]"), *literal("IA"), Step("[A-Z0-9]", 16, 16))
    branch = Branch(steps, not_after=("[A-Za-z0-9]",))
    return Pattern("aws_access_key_id", [branch], after="(?![A-Za-z0-9])")


def aws_secret_access_key() -> Pattern:
    """Finds secret access keys by what stands before them."""
    branch = Branch(
        (Step("[A-Za-z0-9/+]"), Step("[A-Za-z0-9/+]", 39, 39)), not_after=("[A-Za-z0-9/+]",)
    )
    return Pattern(
        "aws_secret_access_key",
        [branch],
        after="(?![A-Za-z0-9/+=])",
        context=CONTEXT_CHARS,
        begins=_announced,
        accepts=_has_both_cases,
    )


def _announced(text: str, start: int) -> bool:
    before = text[max(0, start - CONTEXT_CHARS) : start].lower()
    return any(cue in before for cue in CUES)


def _has_both_cases(match: str) -> bool:
    return match != match.lower() and match != match.upper()
