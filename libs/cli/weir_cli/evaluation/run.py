"""One evaluation: a served model asked for every example of a suite, and scored."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from weir import AsyncClient, Model
from weir_cli.evaluation.answers import Unanswered
from weir_cli.evaluation.bounds import Bound, ks_of
from weir_cli.evaluation.examples import Classify, Detect, Rank, Recommend, Suite
from weir_cli.evaluation.measures import labels_of, measure, metrics_of
from weir_cli.evaluation.report import Report
from weir_cli.evaluation.served import Served
from weir_cli.failure import Failure
from weir_kit.clock import Clock

CLASSIFYING = {
    "texts": ("text-classification", "language-id"),
    "images": ("image-classification",),
    "blobs": ("file-type",),
}


@dataclass(frozen=True)
class Plan:
    """How to ask and to score; `labels` are the suite's names for the model's."""

    model: str
    concurrency: int = 8
    seed: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


async def run(
    client: AsyncClient,
    plan: Plan,
    suite: Suite,
    bounds: Sequence[Bound],
    *,
    clock: Clock,
    on_answered: Callable[[int], None],
    digest_of: Callable[[str, str], Awaitable[str | None]],
) -> Report:
    """Ask and score.

    `on_answered` hears of how many examples were answered at a time; `digest_of` knows that of a
    model's version. Raises `Failure` where model, suite and bounds do not fit.
    """
    name, _, asked_version = plan.model.partition("@")
    listed = _listed(name, await client.models())
    _check_task(listed, suite)
    ks = ks_of(bounds)
    _check_metrics(bounds, metrics_of(suite.examples, ks), suite)
    served = Served(
        client,
        plan.model,
        concurrency=plan.concurrency,
        # Of recommendations the longest ranking; of classes all that the suite may be asking for.
        top_k=max(*ks, len(labels_of(suite.examples)) + len(plan.labels)),
        labels=plan.labels,
    )
    answers = await served.ask(suite.examples, on_answered)
    scores = measure(suite.examples, answers, plan.seed, ks)
    version = _version(served.spent.versions) or asked_version or listed.version or None
    failed = [why for bound in bounds if (why := bound.failure(scores))]
    return Report(
        model=name,
        version=version,
        digest=await digest_of(name, version) if version else None,
        suite=suite.name,
        examples=len(suite.examples),
        seed=plan.seed,
        at_s=clock.now_s(),
        scores=scores,
        unanswered=Counter(one.reason for one in answers if isinstance(one, Unanswered)),
        spent=served.spent,
        failed=tuple(failed),
    )


def _listed(name: str, models: Sequence[Model]) -> Model:
    for model in models:
        if model.name == name:
            return model
    served = ", ".join(model.name for model in models) or "none"
    raise Failure(f"there is no model {name!r}; served: {served}")


def _check_task(model: Model, suite: Suite) -> None:
    match suite.examples[0]:
        case Classify(kind=kind):
            tasks = CLASSIFYING[kind]
        case Detect():
            tasks = ("object-detection",)
        case Rank():
            tasks = ("rerank", "embedding")
        case Recommend():
            tasks = ("recommendation",)
        case _:
            tasks = ("generation",)
    if model.task not in tasks:
        raise Failure(f"{suite.name} is for {' or '.join(tasks)}; {model.name} does {model.task}")


def _check_metrics(bounds: Sequence[Bound], metrics: Sequence[str], suite: Suite) -> None:
    """Before any call is made: calls are charged."""
    for bound in bounds:
        if bound.metric not in metrics:
            told = ", ".join(metrics)
            raise Failure(f"{suite.name} has no {bound.metric}; it has {told}")


def _version(versions: set[str]) -> str:
    """The one that answered."""
    if len(versions) > 1:
        named = " and ".join(sorted(versions))
        raise Failure(f"versions {named} answered, a mixture: name one, as MODEL@{min(versions)}")
    return next(iter(versions), "")
