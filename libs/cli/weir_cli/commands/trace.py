"""`weir trace`: one request through all services."""

import asyncio
import dataclasses
from typing import Annotated

import typer

from weir_cli import waterfall
from weir_cli.admin import admin
from weir_cli.failure import Failure
from weir_cli.screen import AsJson, out, print_json
from weir_cli.traces import Span, folded, trace_of


def trace(
    request_id: Annotated[str, typer.Argument(help="As in answers and in the statement: req_…")],
    as_json: AsJson = False,
) -> None:
    """Show the spans of a request as a waterfall."""
    spans = asyncio.run(_spans(request_id))
    if not spans:
        raise Failure(
            f"no trace of {request_id}: the gateway does not know it, or has forgotten it "
            "(each process keeps its newest 20 000 spans, until it stops)"
        )
    if as_json:
        print_json([dataclasses.asdict(span) for span in spans])
        return
    for line in waterfall.lines(folded(spans)):
        out.print(line, soft_wrap=True)


async def _spans(request_id: str) -> list[Span]:
    async with admin() as stack:
        return await trace_of(stack, request_id)
