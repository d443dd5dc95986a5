"""`weir demo`: one request over gRPC, one over HTTP, and all that is known about the first."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import httpx

from weir_cli import generation, memory, waterfall
from weir_cli.admin import Admin, admin
from weir_cli.commands.chat import show
from weir_cli.commands.up import ModelOption, Processes
from weir_cli.failure import Failure
from weir_cli.ledger import entries_of, entry_fields, ledger_sums
from weir_cli.opening import MAX_TOKENS, PROMPT, input_of
from weir_cli.progress import Progress
from weir_cli.screen import AsJson, err, money, out, print_json, print_table
from weir_cli.stack import state
from weir_cli.stack.home import home_of
from weir_cli.stack.interrupts import ending_on_signals
from weir_cli.stack.stack import Options, running_stack
from weir_cli.tokens import Tokens
from weir_cli.traces import Span, folded, trace_of

HTTP_TIMEOUT_S = 60
SAMPLING = {"temperature": generation.TEMPERATURE, "top_p": generation.TOP_P}


def demo(processes: Processes = False, model: ModelOption = None, as_json: AsJson = False) -> None:
    """Show one request end to end. Starts a stack, and stops it after, if none runs."""
    asyncio.run(_run(Options(processes, model, http_port=0, grpc_port=0), as_json))


async def _run(options: Options, as_json: bool) -> None:
    with ending_on_signals():
        async with _some_stack(options):
            async with admin() as stack:
                found, spans = await _demonstrate(stack, as_json)
            if as_json:
                print_json(found)
            else:
                _show(found, spans)


@asynccontextmanager
async def _some_stack(options: Options) -> AsyncIterator[None]:
    """The stack that runs, or one for as long as this takes."""
    if state.running(home_of()):
        yield
        return
    async with running_stack(home_of(), options, Progress(err)):
        yield


async def _demonstrate(stack: Admin, as_json: bool) -> tuple[dict[str, Any], list[Span]]:
    running, chat = stack.stack, await Tokens(stack, stack.stack.model).can_chat()
    if not as_json:
        out.print(PROMPT, style="bold", end=" ")
    answer = await generation.stream(
        running.grpc_address,
        stack.demo_key,
        running.model,
        input_of(chat=chat),
        MAX_TOKENS,
        (lambda _: None) if as_json else show,
    )
    openai = await _openai(running.http_url, stack.demo_key, running.model, chat=chat)
    spans = folded(await trace_of(stack, answer.request_id))
    ledger = await ledger_sums(stack)
    entries = await entries_of(stack, request_id=answer.request_id)
    names = {span.span_id: span.name for span in spans}
    found = {
        "text": answer.text,
        "usage": asdict(answer.usage),
        "cost_nanos": answer.cost_nanos,
        "currency": answer.currency,
        "ledger_sum_nanos": sum(ledger["sums_nanos"].values()),
        "ledger_entries": [entry_fields(entry) for entry in entries],
        "findings": [asdict(finding) for finding in answer.findings],
        "trace": [
            {
                "service": span.service,
                "name": span.name,
                "parent": names.get(span.parent_span_id),
                "start_ms": span.start_ms,
                "duration_ms": span.duration_ms,
            }
            for span in spans
        ],
        "openai": openai,
        "rss_mb": memory.megabytes([running.supervisor.pid]),
    }
    return found, spans


async def _openai(http_url: str, api_key: str, model: str, *, chat: bool) -> dict[str, Any]:
    """The same question by the OpenAI API, not streamed."""
    message = {"role": "user", "content": PROMPT}
    asked: dict[str, Any] = {"messages": [message]} if chat else {"prompt": PROMPT}
    async with httpx.AsyncClient(
        base_url=http_url,
        timeout=HTTP_TIMEOUT_S,
    ) as client:
        answer = await client.post(
            "/v1/chat/completions" if chat else "/v1/completions",
            headers={"Authorization": f"Bearer {api_key}"},
            json={"model": model, "max_tokens": MAX_TOKENS, **SAMPLING, **asked},
        )
    body: dict[str, Any] = answer.json()
    if answer.is_error:
        raise Failure(f"the OpenAI API answered {answer.status_code}: {body}")
    return body


def _show(found: dict[str, Any], spans: list[Span]) -> None:
    usage, currency = found["usage"], found["currency"]
    out.print("\n")
    out.print(f"[bold]tokens[/]    {usage['input_tokens']} in, {usage['output_tokens']} out")
    out.print(f"[bold]cost[/]      {money(found['cost_nanos'], currency)}")
    out.print(f"[bold]findings[/]  {_findings(found['findings'])}")
    out.print(f"[bold]memory[/]    {found['rss_mb']} MB, the whole stack")
    out.print("\n[bold]ledger[/]")
    print_table(
        ("kind", "account", "amount", "balance after"),
        [
            (
                entry["kind"],
                entry["account"],
                money(entry["amount_nanos"], entry["currency"]),
                money(entry["balance_after_nanos"], entry["currency"]),
            )
            for entry in reversed(found["ledger_entries"])
        ],
    )
    out.print(f"the whole ledger sums to {money(found['ledger_sum_nanos'], currency)}")
    out.print("\n[bold]trace[/]")
    for line in waterfall.lines(spans):
        out.print(line, soft_wrap=True)
    choice = found["openai"]["choices"][0]
    out.print("\n[bold]the same over the OpenAI API[/]")
    text = choice["message"]["content"] if "message" in choice else choice["text"]
    out.print(text, markup=False, soft_wrap=True)


def _findings(findings: list[dict[str, Any]]) -> str:
    found = [f"{one['rule']} ({one['action']}, {one['where']})" for one in findings]
    return ", ".join(found) or "none"
