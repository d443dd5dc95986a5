"""`weir eval`: what a served model gets right, and whether that is enough."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from weir import AsyncClient
from weir_cli.admin import TIMEOUT_S, Admin, admin
from weir_cli.evaluation.bounds import Bound, read_bounds, read_requirements
from weir_cli.evaluation.built_in import BUILT_IN
from weir_cli.evaluation.examples import Suite
from weir_cli.evaluation.report import Report, show
from weir_cli.evaluation.run import Plan, run
from weir_cli.evaluation.suites import CHECKOUT_DATA, DATA_VARIABLE, open_suite, sample
from weir_cli.failure import Failure
from weir_cli.manifest import MANIFEST
from weir_cli.screen import AsJson, err, print_json
from weir_contracts.inference.v1 import inference_pb2, inference_pb2_grpc
from weir_kit.clock import SystemClock


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="Its name; with @2 or @stable a version or alias of it.", metavar="MODEL"
        ),
    ] = "",
    suite: Annotated[
        str,
        typer.Option(
            help=f"One of {', '.join(BUILT_IN)}; or a .jsonl of examples, a .txt for perplexity."
        ),
    ] = "",
    data: Annotated[
        Path,
        typer.Option(envvar=DATA_VARIABLE, help="The folder that the named suites are read from."),
    ] = CHECKOUT_DATA,
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many examples, chosen by seed. Unset: all.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Chooses examples, and resamples for intervals.")] = 0,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Calls at a time, at most.")] = 8,
    minima: Annotated[
        list[str] | None,
        typer.Option(
            "--min", metavar="METRIC=VALUE", help="End with 1 if the metric is below. Repeatable."
        ),
    ] = None,
    maxima: Annotated[
        list[str] | None,
        typer.Option("--max", metavar="METRIC=VALUE", help="The same for above, as perplexity=20."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODELS=SUITES", help="What the suite calls one of the model's labels."
        ),
    ] = None,
    gate: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Check all that its model.yaml requires, in place of --suite."
        ),
    ] = None,
    model_option: Annotated[str, typer.Option("--model", help="The same as MODEL.")] = "",
    api_key: Annotated[
        str, typer.Option(envvar="WEIR_API_KEY", help="Unset: the stack's demo key.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Ask a served model for every example of a suite, as any client would, and score the answers.

    Scores have 95 % intervals. Calls are charged as all calls are; the last line says how much.
    """
    if bool(model) == bool(model_option):
        raise Failure("name one model: weir eval MODEL --suite SUITE")
    if bool(suite) == bool(gate):
        raise Failure("give either --suite, or --gate with a folder that has a model.yaml")
    if gate and (minima or maxima):
        raise Failure(
            "--min and --max are for --suite; with --gate the model.yaml says what is enough"
        )
    plan = Plan(model or model_option, concurrency, seed, _labels(label or []))
    wanted = read_requirements(gate) if gate else {suite: read_bounds(minima or [], maxima or [])}
    suites = [(sample(open_suite(name, data), limit, seed), wanted[name]) for name in wanted]
    reports = asyncio.run(_evaluate(plan, suites, api_key))
    if gate:
        _check_same(gate, reports)
    if as_json:
        print_json({"suites": [one.json for one in reports]} if gate else reports[0].json)
    else:
        for report in reports:
            show(report)
    failed = [f"{report.suite}: {why}" for report in reports for why in report.failed]
    if failed:
        raise Failure("; ".join(failed))


async def _evaluate(
    plan: Plan, suites: Sequence[tuple[Suite, Sequence[Bound]]], api_key: str
) -> list[Report]:
    reports: list[Report] = []
    async with (
        admin() as stack,
        AsyncClient(stack.stack.grpc_address, api_key or stack.demo_key) as client,
    ):
        for suite, bounds in suites:
            with _progress(suite) as on_answered:
                report = await run(
                    client,
                    plan,
                    suite,
                    bounds,
                    clock=SystemClock(),
                    on_answered=on_answered,
                    digest_of=partial(_digest_of, stack),
                )
            reports.append(report)
    return reports


async def _digest_of(stack: Admin, model: str, version: str) -> str | None:
    stub = inference_pb2_grpc.ModelRepositoryServiceStub(stack.channel("inference"))
    answer = await stub.ListModels(inference_pb2.ListModelsRequest(), timeout=TIMEOUT_S)
    digests = {one.version: one.digest for one in answer.models if one.name == model}
    return digests.get(version) or None


def _check_same(folder: Path, reports: Sequence[Report]) -> None:
    """What was asked is what lies in the folder, as far as its manifest and the stack's tell."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    for report in reports:
        if report.digest not in (None, digest):
            raise Failure(
                f"{report.model} {report.version} is not what lies in {folder}: its {MANIFEST} is "
                "another; load this one, or name its version with @"
            )


@contextmanager
def _progress(suite: Suite) -> Iterator[Callable[[int], None]]:
    """How many examples are answered, on stderr: a bar on a terminal, elsewhere a few lines."""
    total, answered = len(suite.examples), 0
    columns = (TextColumn(suite.name), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        task = bars.add_task(suite.name, total=total)

        def on_answered(n: int) -> None:
            nonlocal answered
            tenths, answered = answered * 10 // total, answered + n
            bars.update(task, completed=answered)
            if not err.is_terminal and answered * 10 // total > tenths:
                err.print(f"{suite.name}: {answered:,} of {total:,}", style="dim", markup=False)

        yield on_answered


def _labels(pairs: Sequence[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for pair in pairs:
        model_label, equals, suite_label = pair.partition("=")
        if not (model_label and equals and suite_label):
            raise Failure(f"--label: {pair!r} must be MODELS=SUITES, as 1=spam")
        labels[model_label] = suite_label
    return labels
