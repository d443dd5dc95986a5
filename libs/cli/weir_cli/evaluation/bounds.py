"""What a score must reach: `--min`, `--max`, and `requires` of a model.yaml."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from weir_cli.evaluation.built_in import BUILT_IN
from weir_cli.evaluation.measures import LOWER_IS_BETTER, K
from weir_cli.evaluation.scores import Score
from weir_cli.failure import Failure

MODEL_YAML = "model.yaml"
YAML_BYTES_MAX = 256 << 10
REQUIREMENTS_MAX = 32
METRICS = ("accuracy", "macro_f1", "roc_auc", "map", "map_50", "perplexity")
AT_K = re.compile(r"(?:ndcg|recall)@([1-9][0-9]{0,2})")
KEYS = {"suite", "metric", "min"}


@dataclass(frozen=True)
class Bound:
    """A score may not be below `limit`, or not above it."""

    metric: str
    limit: float
    is_max: bool = False

    def failure(self, scores: Mapping[str, Score]) -> str | None:
        """Why the scores do not keep it; None if they do."""
        score = scores.get(self.metric)
        if score is None:
            return f"{self.metric} has no value"
        # Written so that a score that is no number does not keep it.
        kept = score.value <= self.limit if self.is_max else score.value >= self.limit
        if kept:
            return None
        side = "above" if self.is_max else "below"
        return f"{self.metric} is {score.value:.4g}, {side} {self.limit:g}"


def read_bounds(minima: Sequence[str], maxima: Sequence[str]) -> list[Bound]:
    """The bounds of `--min` and `--max`, each METRIC=VALUE. Raises `Failure`."""
    return [
        *(_bound("--min", text, is_max=False) for text in minima),
        *(_bound("--max", text, is_max=True) for text in maxima),
    ]


def read_requirements(folder: Path) -> dict[str, list[Bound]]:
    """The bounds by suite of a model version's folder; a suite's file lies in it.

    Raises `Failure` naming the field.
    """
    found: dict[str, list[Bound]] = {}
    for place, one in enumerate(_required(folder)):
        field = f"{folder / MODEL_YAML}: requires[{place}]"
        if not isinstance(one, dict) or one.keys() != KEYS:
            raise Failure(f"{field} must have suite, metric and min")
        suite, metric, limit = one["suite"], one["metric"], one["min"]
        if not isinstance(suite, str) or not suite:
            raise Failure(f"{field}.suite must be a suite's name or file")
        if type(limit) not in (int, float) or not math.isfinite(limit):
            raise Failure(f"{field}.min must be a number")
        _check_metric(f"{field}.metric", metric, is_max=False)
        name = suite if suite in BUILT_IN else str(folder / suite)
        found.setdefault(name, []).append(Bound(metric, float(limit)))
    return found


def ks_of(bounds: Sequence[Bound]) -> list[int]:
    """The lengths of rankings that NDCG and recall are to be told of."""
    asked = (AT_K.fullmatch(bound.metric) for bound in bounds)
    return sorted({K, *(int(one[1]) for one in asked if one)})


def _required(folder: Path) -> list[Any]:
    file = folder / MODEL_YAML
    try:
        with file.open("rb") as opened:
            data = opened.read(YAML_BYTES_MAX + 1)
        if len(data) > YAML_BYTES_MAX:
            raise Failure(f"{file} is larger than {YAML_BYTES_MAX} bytes")
        document = yaml.safe_load(data)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise Failure(f"--gate: {file} cannot be read: {error}") from error
    requires = document.get("requires") if isinstance(document, dict) else None
    if not isinstance(requires, list) or not 1 <= len(requires) <= REQUIREMENTS_MAX:
        raise Failure(
            f"{file}: requires must be a list of 1 to {REQUIREMENTS_MAX} objects with suite, "
            "metric and min"
        )
    return requires


def _bound(option: str, text: str, *, is_max: bool) -> Bound:
    metric, _, value = text.partition("=")
    try:
        limit = float(value)
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise Failure(f"{option}: {text!r} must be METRIC=VALUE, as accuracy=0.9")
    _check_metric(option, metric, is_max=is_max)
    return Bound(metric, limit, is_max)


def _check_metric(where: str, metric: object, *, is_max: bool) -> None:
    if not isinstance(metric, str) or not (metric in METRICS or AT_K.fullmatch(metric)):
        raise Failure(
            f"{where}: {metric!r} is no metric: give one of {', '.join(METRICS)}, ndcg@{K}, "
            f"recall@{K} or of another number"
        )
    if not is_max and metric in LOWER_IS_BETTER:
        raise Failure(f"{where}: {metric} is better when lower: only --max bounds it")
