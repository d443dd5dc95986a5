"""Tokens of GitHub: `ghp_…`, `gho_…`, `ghu_…`, `ghs_…`, `ghr_…` and `github_pat_…`."""

from weir_policy.core.pattern import Branch, Pattern, Step, literal

BODY_CHARS_MAX = 512


def github_token() -> Pattern:
    """Finds GitHub tokens by their prefix."""
    body = Step("[A-Za-z0-9_]", 36, BODY_CHARS_MAX)
    classic = (
        *literal("gh"),
        Step("[pousr]"),
        *literal("_"),
        Step("[A-Za-z0-9_]", 36, BODY_CHARS_MAX),
    )
    fine_grained = (*literal("github_pat_"), body)
    return Pattern("github_token", [Branch(classic), Branch(fine_grained)])
