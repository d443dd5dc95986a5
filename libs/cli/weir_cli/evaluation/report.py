"""What an evaluation found, as a table and as JSON."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from weir_cli.evaluation.answers import Spent
from weir_cli.evaluation.scores import Score
from weir_cli.screen import err, money, out, print_table


@dataclass(frozen=True)
class Report:
    """The scores of one model version on one suite, and what they cost.

    `version` and `digest` are None where they are not known; `unanswered` counts refused examples
    by the reason; `failed` says which bounds are not kept.
    """

    model: str
    version: str | None
    digest: str | None
    suite: str
    examples: int
    seed: int
    at_s: float
    scores: Mapping[str, Score]
    unanswered: Counter[str]
    spent: Spent
    failed: tuple[str, ...]

    @property
    def json(self) -> dict[str, Any]:
        """For programs; what is no finite number is null."""
        return {
            "model": self.model,
            "version": self.version,
            "digest": self.digest,
            "suite": self.suite,
            "date": datetime.fromtimestamp(self.at_s, UTC).isoformat(timespec="seconds"),
            "examples": self.examples,
            "seed": self.seed,
            "metrics": {
                name: {
                    "value": _finite(score.value),
                    "low": _finite(score.low),
                    "high": _finite(score.high),
                    "n": score.n,
                }
                for name, score in self.scores.items()
            },
            "unanswered": dict(self.unanswered),
            "failed": list(self.failed),
            "usage": {
                "calls": self.spent.calls,
                "items": self.spent.items,
                "input_tokens": self.spent.input_tokens,
                "output_tokens": self.spent.output_tokens,
                "compute_us": self.spent.compute_us,
            },
            "cost_nanos": self.spent.cost_nanos,
            "currency": self.spent.currency,
            "unpriced_calls": self.spent.unpriced_calls,
        }


def show(report: Report) -> None:
    """Print the scores, what was refused, and in the last line what it took."""
    version = f" {report.version}" if report.version else ""
    examples = f"{report.examples:,} examples"
    out.print(f"{report.model}{version} on {report.suite}, {examples}", markup=False)
    print_table(
        ("metric", "value", "95 % interval", "n"),
        [
            (name, _told(score.value), f"{_told(score.low)} to {_told(score.high)}", f"{score.n:,}")
            for name, score in report.scores.items()
        ],
    )
    for reason, n in report.unanswered.most_common():
        out.print(f"{n:,} refused: {reason}", markup=False)
    err.print(_spent(report.spent), style="dim", markup=False)


def _spent(spent: Spent) -> str:
    used = [f"{spent.calls:,} call{'' if spent.calls == 1 else 's'}"]
    if spent.input_tokens:
        used.append(f"{spent.input_tokens:,} + {spent.output_tokens:,} tokens")
    if spent.compute_us:
        used += [f"{spent.items:,} items", f"{spent.compute_us / 1e6:.1f} s of computing"]
    used.append(money(spent.cost_nanos, spent.currency) if spent.currency else "cost not known yet")
    if spent.currency and spent.unpriced_calls:
        used.append(f"{spent.unpriced_calls:,} calls charged later")
    return ", ".join(used)


def _told(value: float) -> str:
    """Three decimals of a share, four digits of what is larger."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
