"""`weir infer`: ask a model that answers in one piece."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from weir import AsyncClient, Box, Kind, Prediction
from weir_cli import plot
from weir_cli.admin import admin
from weir_cli.failure import Failure
from weir_cli.items import Given, items_of
from weir_cli.prediction_tables import print_prediction
from weir_cli.screen import AsJson, err, money, print_json

PLOTTED = ("object-detection", "ocr")


def infer(
    model: Annotated[
        str, typer.Argument(help="Its name; with @2 or @stable a version or alias of it.")
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Texts, or - for one a line from stdin; pictures or files by their paths; "
            "documents: what the model's task takes.",
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Classes or items of each answer at most.")
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(help="Leave out classes, spans and boxes below.")
    ] = None,
    query: Annotated[
        str | None, typer.Option(help="What the documents are to answer; for rerankers.")
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(
            metavar="IDS", help="What the user liked, the oldest first, as 1,2,3; for recommenders."
        ),
    ] = None,
    exclude: Annotated[
        str | None, typer.Option(metavar="IDS", help="What not to recommend beside that.")
    ] = None,
    plot_to: Annotated[
        Path | None,
        typer.Option(
            "--plot", metavar="FILE", help="Draw what was found on a copy of the picture."
        ),
    ] = None,
    api_key: Annotated[
        str, typer.Option(envvar="WEIR_API_KEY", help="Unset: the stack's demo key.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Have a model classify, detect, embed, rank or recommend, as its task is."""
    given = Given(inputs or [], query, history, exclude)
    options = {"top_k": top_k, "min_score": min_score}
    prediction, names = asyncio.run(_infer(model, given, options, plot_to, api_key))
    if as_json:
        print_json(dataclasses.asdict(prediction))
    else:
        print_prediction(prediction, names)
        _cost_of(prediction)
    if plot_to is not None:
        plot.draw(Path(names[0]), _boxes(prediction), plot_to)


async def _infer(
    model: str, given: Given, options: dict[str, Any], plot_to: Path | None, api_key: str
) -> tuple[Prediction[Any], list[str]]:
    """The answer, and what to call the items that were sent."""
    name, _, version = model.partition("@")
    async with (
        admin() as stack,
        AsyncClient(stack.stack.grpc_address, api_key or stack.demo_key) as client,
    ):
        tasks = {one.name: one.task for one in await client.models()}
        if name not in tasks:
            raise Failure(f"there is no model {name!r}; served: {', '.join(tasks) or 'none'}")
        if plot_to is not None:
            _check_plot(name, tasks[name], given, plot_to)
        items, names = items_of(name, tasks[name], given)
        if "query" in items:
            return await client.rerank(name, **items, version=version, **options), names
        return await client.predict(name, **items, version=version, **options), names


def _check_plot(model: str, task: str, given: Given, plot_to: Path) -> None:
    if task not in PLOTTED:
        raise Failure(f"--plot is for {' and '.join(PLOTTED)}; {model} does {task}")
    if len(given.inputs) != 1:
        raise Failure(f"--plot needs one picture, not {len(given.inputs)}")
    plot.check_target(plot_to)


def _boxes(prediction: Prediction[Any]) -> list[Box]:
    [answer] = prediction.answers
    if prediction.kind is Kind.LINES:
        return [dataclasses.replace(line.box, label=line.text) for line in answer]
    return list(answer.boxes)


def _cost_of(answer: Prediction[Any]) -> None:
    usage = answer.usage
    items = f"{usage.items} item{'' if usage.items == 1 else 's'}"
    cost = money(answer.cost_nanos, answer.currency)
    parts = (items, f"{usage.compute_us / 1000:.1f} ms", cost, answer.request_id)
    named = f"{answer.model} {answer.version}".rstrip()
    err.print(", ".join((named, *parts)), style="dim", markup=False, soft_wrap=True)
