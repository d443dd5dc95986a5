"""From answers to scores."""

from collections.abc import Collection, Sequence
from functools import partial

from weir_cli.evaluation.answers import (
    Answer,
    Classes,
    Found,
    Preferred,
    Ranking,
    Tokens,
    Unanswered,
)
from weir_cli.evaluation.boxes import Boxed, mean_average_precision
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
from weir_cli.evaluation.scores import (
    Labelled,
    Score,
    accuracy,
    macro_f1,
    mean,
    ndcg_at,
    perplexity,
    recall_at,
    roc_auc,
    share,
)
from weir_cli.failure import Failure

K = 10  # of NDCG and recall, unless another is asked for
SEVERAL_SCORE_MIN = 0.5
LOWER_IS_BETTER = frozenset({"perplexity"})


def measure(
    examples: Sequence[Example], answers: Sequence[Answer], seed: int, ks: Sequence[int] = (K,)
) -> dict[str, Score]:
    """The scores by their names, those of the examples' kind.

    An example without an answer is wrong; only ROC AUC and perplexity, where nothing is right or
    wrong, leave it out. Raises `Failure` if no example has an answer, or where labels do not fit.
    """
    refused = [one for one in answers if isinstance(one, Unanswered)]
    if len(refused) == len(answers):
        raise Failure(f"no example was answered: {refused[0].message}")
    match examples[0]:
        case Classify():
            return _of_classes(examples, answers, seed)
        case Detect():
            return _of_boxes(examples, answers, seed)
        case Rank() | Recommend():
            return _of_rankings(examples, answers, seed, ks)
        case Continue():
            right = [isinstance(one, Tokens) and one.are_likeliest for one in answers]
            return {"accuracy": share(right), "perplexity": _perplexity(answers, seed)}
        case Prefer():
            return {
                "accuracy": share(
                    [isinstance(one, Preferred) and one.better > one.worse for one in answers]
                )
            }
        case Read():
            return {"perplexity": _perplexity(answers, seed)}


def metrics_of(examples: Sequence[Example], ks: Sequence[int]) -> list[str]:
    """The names of the scores that `measure` gives; ROC AUC only if both labels are answered."""
    match examples[0]:
        case Classify():
            return ["accuracy", "macro_f1", *(["roc_auc"] if _is_either_or(examples) else [])]
        case Detect():
            return ["map", "map_50"]
        case Rank() | Recommend():
            return [f"{name}@{k}" for k in ks for name in ("ndcg", "recall")]
        case Continue():
            return ["accuracy", "perplexity"]
        case Prefer():
            return ["accuracy"]
        case Read():
            return ["perplexity"]


def labels_of(examples: Sequence[Example]) -> list[str]:
    """All labels of a suite, sorted."""
    found: set[str] = set()
    for one in examples:
        if isinstance(one, Classify):
            found |= one.labels
        elif isinstance(one, Detect):
            found |= {box.label for box in one.boxes}
    return sorted(found)


def _of_classes(
    examples: Sequence[Example], answers: Sequence[Answer], seed: int
) -> dict[str, Score]:
    labels = labels_of(examples)
    if not labels:
        raise Failure("no example of the suite has a label: there is nothing to tell")
    told_labels = {label for one in answers if isinstance(one, Classes) for label in one.scores}
    _check_labels(told_labels, labels)
    cases: list[Labelled] = []
    for example, answer in zip(examples, answers, strict=True):
        assert isinstance(example, Classify)
        cases.append(Labelled(example.labels, _found(answer, several=example.several)))
    scores = {"accuracy": accuracy(cases), "macro_f1": macro_f1(cases, seed)}
    if _is_either_or(examples):
        told = [
            (answer.scores.get(labels[1], 0.0), case.truth == {labels[1]})
            for case, answer in zip(cases, answers, strict=True)
            if isinstance(answer, Classes)
        ]
        truth = [is_second for _, is_second in told]
        if len(set(truth)) == 2:
            scores["roc_auc"] = roc_auc([score for score, _ in told], truth, seed)
    return scores


def _is_either_or(examples: Sequence[Example]) -> bool:
    """Whether each example has one of two labels."""
    one_each = all(isinstance(one, Classify) and not one.several for one in examples)
    return one_each and len(labels_of(examples)) == 2


def _found(answer: Answer, *, several: bool) -> frozenset[str]:
    """The likeliest label; where several may be right, all that are likelier than not."""
    if not isinstance(answer, Classes):
        return frozenset()
    if several:
        return frozenset(
            label for label, score in answer.scores.items() if score >= SEVERAL_SCORE_MIN
        )
    return frozenset(list(answer.scores)[:1])


def _check_labels(told: Collection[str], labels: Collection[str]) -> None:
    """A model that calls things otherwise would be wrong everywhere, and nobody would see why."""
    if told and not set(told) & set(labels):
        theirs, ours = (", ".join(sorted(some)[:9]) for some in (told, labels))
        raise Failure(
            f"the model's labels ({theirs}) are not the suite's ({ours}): name them alike with "
            "--label MODELS=SUITES"
        )


def _of_boxes(
    examples: Sequence[Example], answers: Sequence[Answer], seed: int
) -> dict[str, Score]:
    pictures = [
        Boxed(example.boxes, answer.boxes if isinstance(answer, Found) else ())
        for example, answer in zip(examples, answers, strict=True)
        if isinstance(example, Detect)
    ]
    labels = labels_of(examples)
    if not labels:
        raise Failure("no picture of the suite has a box: mAP has no value")
    _check_labels({box.label for picture in pictures for box in picture.found}, labels)
    return {
        "map": mean_average_precision(pictures, seed),
        "map_50": mean_average_precision(pictures, seed, (0.5,)),
    }


def _of_rankings(
    examples: Sequence[Example], answers: Sequence[Answer], seed: int, ks: Sequence[int]
) -> dict[str, Score]:
    asked = [one for one in examples if isinstance(one, Rank | Recommend)]
    ranked = [one.items if isinstance(one, Ranking) else () for one in answers]
    scores: dict[str, Score] = {}
    for k in ks:
        for name, at_k in (("ndcg", partial(ndcg_at, k)), ("recall", partial(recall_at, k))):
            values = [at_k(items, one.gains) for items, one in zip(ranked, asked, strict=True)]
            scores[f"{name}@{k}"] = mean(values, seed)
    return scores


def _perplexity(answers: Sequence[Answer], seed: int) -> Score:
    return perplexity([one.logprobs for one in answers if isinstance(one, Tokens)], seed)
