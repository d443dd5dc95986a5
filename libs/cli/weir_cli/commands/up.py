"""`weir up`: the whole platform on this machine, until Ctrl-C."""

import asyncio
import time
from typing import Annotated, Literal

import psutil
import typer

from weir_cli import generation, snippets
from weir_cli.admin import admin
from weir_cli.commands.chat import show
from weir_cli.opening import MAX_TOKENS, PROMPT, input_of
from weir_cli.progress import Progress
from weir_cli.screen import AsJson, err, out, print_json
from weir_cli.stack.home import home_of
from weir_cli.stack.interrupts import ending_on_signals
from weir_cli.stack.stack import Options, Stack, running_stack
from weir_cli.tokens import Tokens

Processes = Annotated[
    bool, typer.Option("--processes", help="Every service in a process of its own, over gRPC.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH_OR_HUB_ID", help="The model to serve. Unset: the one that comes along."
    ),
]
QuantizeOption = Annotated[
    Literal["none", "int8", "int4"] | None,
    typer.Option(help="Hold the weights in fewer bits, from when they are loaded."),
]


def up(
    processes: Processes = False,
    model: ModelOption = None,
    quantize: QuantizeOption = None,
    http_port: Annotated[
        int, typer.Option(min=0, max=65535, help="The OpenAI API's port. 0: any free.")
    ] = 8080,
    grpc_port: Annotated[
        int, typer.Option(min=0, max=65535, help="The gRPC API's port. 0: any free.")
    ] = 9090,
    as_json: AsJson = False,
) -> None:
    """Start everything, say how to call it, and serve until Ctrl-C."""
    options = Options(processes, model, quantize, http_port, grpc_port)
    asyncio.run(_serve(options, as_json))


async def _serve(options: Options, as_json: bool) -> None:
    progress = Progress(err)
    with ending_on_signals() as interrupts:
        async with running_stack(home_of(), options, progress) as stack:
            interrupts.on_second(stack.supervisor.hurry)
            ready_s = time.time() - psutil.Process().create_time()
            if as_json:
                print_json(_line(stack, ready_s))
            else:
                async with admin(stack.home) as services:
                    chat = await Tokens(services, services.stack.model).can_chat()
                _introduce(stack, ready_s, chat=chat)
                await _show_one_request(stack, chat=chat)
                progress.say("serving; Ctrl-C stops everything")
            await asyncio.Event().wait()


def _line(stack: Stack, ready_s: float) -> dict[str, object]:
    return {
        "http_url": stack.http_url,
        "grpc_address": stack.grpc_address,
        "api_key": stack.api_key,
        "model": stack.model.name,
        "ready_s": round(ready_s, 2),
    }


def _introduce(stack: Stack, ready_s: float, *, chat: bool) -> None:
    """Where it listens, and two ways to call it."""
    how = (stack.http_url, stack.api_key, stack.model.name, PROMPT)
    lines = (
        f"\nWeir is ready after {ready_s:.1f} s.\n",
        f"  OpenAI API  {stack.http_url}/v1",
        f"  gRPC API    {stack.grpc_address}",
        f"  API key     {stack.api_key}",
        f"  model       {stack.model.name}",
        f"\nWith curl:\n\n{snippets.curl(*how, chat=chat)}",
        f"\nWith Python (pip install openai):\n\n{snippets.python(*how, chat=chat)}\n",
    )
    out.print("\n".join(lines), markup=False, soft_wrap=True)


async def _show_one_request(stack: Stack, *, chat: bool) -> None:
    """Send one request and stream its answer to the screen: proof that all of it works."""
    out.print(PROMPT, style="bold", end=" ")
    address, model = stack.grpc_address, stack.model.name
    asked = input_of(chat=chat)
    await generation.stream(address, stack.api_key, model, asked, MAX_TOKENS, show)
    out.print("\n")
