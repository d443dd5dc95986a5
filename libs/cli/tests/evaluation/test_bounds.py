from pathlib import Path

import pytest

from weir_cli.evaluation.bounds import Bound, ks_of, read_bounds, read_requirements
from weir_cli.evaluation.scores import Score
from weir_cli.failure import Failure

SCORES = {"accuracy": Score(0.9, 0.8, 0.95, 10), "perplexity": Score(20.0, 18.0, 22.0, 10)}


@pytest.mark.parametrize(
    ("bound", "why"),
    [
        (Bound("accuracy", 0.9), None),
        (Bound("accuracy", 0.901), "accuracy is 0.9, below 0.901"),
        (Bound("perplexity", 20.0, is_max=True), None),
        (Bound("perplexity", 19.5, is_max=True), "perplexity is 20, above 19.5"),
    ],
)
def test_a_bound_is_kept_at_the_limit_itself(bound: Bound, why: str | None) -> None:
    assert bound.failure(SCORES) == why


def test_a_score_that_is_no_number_keeps_no_bound() -> None:
    nothing = {"perplexity": Score(float("nan"), 0, 0, 1)}
    assert Bound("perplexity", 9.0, is_max=True).failure(nothing)


def test_a_score_that_is_not_there_keeps_no_bound() -> None:
    assert Bound("roc_auc", 0.5).failure(SCORES) == "roc_auc has no value"


def test_bounds_are_read_from_options() -> None:
    bounds = read_bounds(["accuracy=0.9", "ndcg@5=0.1"], ["perplexity=20"])
    assert bounds == [
        Bound("accuracy", 0.9),
        Bound("ndcg@5", 0.1),
        Bound("perplexity", 20.0, is_max=True),
    ]
    assert ks_of(bounds) == [5, 10] and ks_of([]) == [10]


@pytest.mark.parametrize("text", ["", "accuracy", "accuracy=", "accuracy=high", "accuracy=nan"])
def test_what_is_no_bound_is_refused(text: str) -> None:
    with pytest.raises(Failure, match=r"--min: .* must be METRIC=VALUE"):
        read_bounds([text], [])


@pytest.mark.parametrize("metric", ["acuracy", "ndcg", "ndcg@0", "recall@1000"])
def test_metrics_that_do_not_exist_are_refused(metric: str) -> None:
    with pytest.raises(Failure, match="is no metric: give one of accuracy"):
        read_bounds([f"{metric}=1"], [])


def test_a_perplexity_has_no_minimum() -> None:
    with pytest.raises(Failure, match="only --max bounds it"):
        read_bounds(["perplexity=20"], [])


def test_requirements_are_read_by_suite(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(
        "task: text-classification\n"
        "requires:\n"
        "- {suite: sentiment, metric: accuracy, min: 0.8}\n"
        "- {suite: own.jsonl, metric: recall@5, min: 1}\n"
        "- {suite: sentiment, metric: roc_auc, min: 0.9}\n"
    )
    assert read_requirements(tmp_path) == {
        "sentiment": [Bound("accuracy", 0.8), Bound("roc_auc", 0.9)],
        str(tmp_path / "own.jsonl"): [Bound("recall@5", 1.0)],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: embedding", "requires must be a list of 1 to 32"),
        ("requires: []", "requires must be a list of 1 to 32"),
        ("- a\n- b", "requires must be a list"),
        ("requires: [{suite: a}]", r"requires\[0\] must have suite, metric and min"),
        ("requires: [{suite: a, metric: accuracy, min: high}]", r"requires\[0\]\.min must be a"),
        ("requires: [{suite: 3, metric: accuracy, min: 0}]", r"requires\[0\]\.suite must be"),
        ("requires: [{suite: a, metric: [], min: 0}]", r"requires\[0\]\.metric: \[\] is no metric"),
        ("requires: [", "cannot be read"),
        ("", "requires must be"),
    ],
)
def test_what_is_wrong_in_a_model_yaml_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "model.yaml").write_text(text)
    with pytest.raises(Failure, match=message):
        read_requirements(tmp_path)


def test_a_folder_without_a_model_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"--gate: .*model\.yaml cannot be read"):
        read_requirements(tmp_path)
