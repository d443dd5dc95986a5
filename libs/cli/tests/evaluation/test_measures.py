import math
from collections.abc import Sequence

import pytest

from weir_cli.evaluation import measures
from weir_cli.evaluation.answers import (
    Answer,
    Classes,
    Found,
    Preferred,
    Ranking,
    Tokens,
    Unanswered,
)
from weir_cli.evaluation.boxes import Box
from weir_cli.evaluation.examples import (
    Classify,
    Continue,
    Detect,
    Example,
    Prefer,
    Rank,
    Read,
    Recommend,
)
from weir_cli.evaluation.measures import K, metrics_of
from weir_cli.evaluation.scores import Score
from weir_cli.failure import Failure

REFUSED = Unanswered("content_blocked", "a rule blocks this")


def measure(
    examples: Sequence[Example], answers: Sequence[Answer], seed: int, ks: Sequence[int] = (K,)
) -> dict[str, Score]:
    """As it is, and no score that was not foretold."""
    found = measures.measure(examples, answers, seed, ks)
    assert set(found) == set(metrics_of(examples, ks)) - ({"roc_auc"} - set(found))
    return found


def values(scores: dict[str, Score]) -> dict[str, float]:
    return {name: score.value for name, score in scores.items()}


def one_of(*labels: str) -> list[Classify]:
    return [Classify("texts", "…", frozenset({label})) for label in labels]


def classes(**scores: float) -> Classes:
    return Classes(scores)


def test_two_classes_have_a_roc_auc_and_what_is_refused_is_wrong() -> None:
    examples = one_of("ham", "spam", "ham", "spam")
    answers: list[Answer] = [
        classes(ham=0.9, spam=0.1),
        classes(spam=0.8, ham=0.2),
        classes(spam=0.7, ham=0.3),
        REFUSED,
    ]
    found = measure(examples, answers, seed=0)
    assert values(found) == {
        "accuracy": 0.5,
        "macro_f1": pytest.approx((2 / 3 + 1 / 2) / 2),
        "roc_auc": 1.0,  # of the three that were answered
    }
    assert (found["accuracy"].n, found["roc_auc"].n) == (4, 3)


def test_three_classes_have_none_and_neither_has_one_class_alone() -> None:
    answers: list[Answer] = [classes(a=0.5, b=0.4, c=0.1)] * 3
    assert set(measure(one_of("a", "b", "c"), answers, 0)) == {"accuracy", "macro_f1"}
    answers = [classes(a=0.9, b=0.1), REFUSED]
    assert set(measure(one_of("a", "b"), answers, 0)) == {"accuracy", "macro_f1"}


def test_where_several_labels_may_be_right_all_likely_ones_are_found() -> None:
    examples = [
        Classify("texts", "…", frozenset({"a", "b"}), several=True),
        Classify("texts", "…", frozenset(), several=True),
    ]
    answers: list[Answer] = [classes(a=0.9, b=0.6, c=0.4), classes(a=0.4, b=0.1)]
    assert values(measure(examples, answers, 0)) == {"accuracy": 1.0, "macro_f1": 1.0}


def test_labels_that_do_not_meet_are_named() -> None:
    with pytest.raises(Failure, match=r"\(LABEL_0, LABEL_1\) are not the suite's \(ham, spam\)"):
        answers: list[Answer] = [classes(LABEL_0=0.9, LABEL_1=0.1)] * 2
        measure(one_of("ham", "spam"), answers, 0)
    with pytest.raises(Failure, match=r"\(dog\) are not the suite's \(cat\)"):
        pictures = [Detect(__file__, (Box("cat", 0, 0, 1, 1),))]  # type: ignore[arg-type]
        measure(pictures, [Found((Box("dog", 0, 0, 1, 1),))], 0)
    with pytest.raises(Failure, match="no example of the suite has a label"):
        measure([Classify("texts", "…", frozenset(), several=True)], [classes(a=0.9)], 0)


def test_boxes_have_two_maps() -> None:
    pictures = [Detect(__file__, (Box("cat", 0, 0, 10, 10),))] * 2  # type: ignore[arg-type]
    answers: list[Answer] = [Found((Box("cat", 0, 0, 10, 8, 0.9),)), REFUSED]
    found = values(measure(pictures, answers, 0))
    # Half of the boxes: recalls 0 to 0.5. An IoU of 0.8 is enough for 7 of the 10 thresholds.
    assert found == {"map": pytest.approx(0.7 * 51 / 101), "map_50": pytest.approx(51 / 101)}
    with pytest.raises(Failure, match="no picture of the suite has a box"):
        measure([Detect(__file__, ())], [Found(())], 0)  # type: ignore[arg-type]


def test_rankings_are_told_of_at_every_length_asked_for() -> None:
    examples = [Rank("q", ("a", "b", "c"), {"1": 1.0}), Rank("q", ("a", "b"), {"0": 1.0})]
    answers: list[Answer] = [Ranking(("0", "1", "2")), REFUSED]
    assert values(measure(examples, answers, 0, ks=(1, 10))) == {
        "ndcg@1": 0.0,
        "recall@1": 0.0,
        "ndcg@10": pytest.approx(1 / math.log2(3) / 2),
        "recall@10": 0.5,
    }
    recommended: list[Answer] = [Ranking(("9", "7"))]
    assert measure([Recommend((), {"7": 1.0})], recommended, 0)["recall@10"].value == 1.0


def test_language_models_are_told_of_by_the_tokens() -> None:
    half = math.log(0.5)
    sure, unsure = (
        Tokens((half, half), are_likeliest=True),
        Tokens((2 * half,), are_likeliest=False),
    )
    answers: list[Answer] = [sure, unsure, REFUSED]
    assert values(measure([Continue("a", "b")] * 3, answers, 0)) == {
        "accuracy": pytest.approx(1 / 3),
        "perplexity": pytest.approx(2 ** (4 / 3)),
    }
    assert values(measure([Read("a")] * 3, answers, 0)) == {
        "perplexity": pytest.approx(2 ** (4 / 3))
    }
    preferred: list[Answer] = [Preferred(-1, -2), Preferred(-2, -1), Preferred(-1, -1), REFUSED]
    assert values(measure([Prefer("a", "b")] * 4, preferred, 0)) == {"accuracy": 0.25}


def test_a_suite_that_nothing_of_was_answered_has_no_scores() -> None:
    with pytest.raises(Failure, match="no example was answered: a rule blocks this"):
        measure([Read("a"), Read("b")], [REFUSED, REFUSED], 0)
