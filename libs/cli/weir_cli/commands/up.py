"""`weir up`: the whole platform on this machine, until Ctrl-C."""

import asyncio
import time
from typing import Annotated

import psutil
import typer

from weir_cli import generation
from weir_cli.commands.chat import show
from weir_cli.progress import Progress
from weir_cli.screen import AsJson, err, out, print_json
from weir_cli.stack.home import home_of
from weir_cli.stack.interrupts import ending_on_signals
from weir_cli.stack.stack import Options, Stack, running_stack

PROMPT = "Once upon a time, there was a little river that"
MAX_TOKENS = 60

Processes = Annotated[
    bool, typer.Option("--processes", help="Every service in a process of its own, over gRPC.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH_OR_HUB_ID", help="The model to serve. Unset: the one that comes along."
    ),
]


def up(
    processes: Processes = False,
    model: ModelOption = None,
    http_port: Annotated[int, typer.Option(help="The OpenAI API's port. 0: any free.")] = 8080,
    grpc_port: Annotated[int, typer.Option(help="The gRPC API's port. 0: any free.")] = 9090,
    as_json: AsJson = False,
) -> None:
    """Start everything, say how to call it, and serve until Ctrl-C."""
    options = Options(processes, model, http_port, grpc_port)
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
                _introduce(stack, ready_s)
                await _show_one_request(stack)
                progress.say("serving; Ctrl-C stops everything")
            await asyncio.Event().wait()


async def _show_one_request(stack: Stack) -> None:
    """Send one request and stream its answer to the screen: proof that all of it works."""
    out.print(PROMPT, style="bold", end=" ")
    messages = [{"role": "user", "content": PROMPT}]
    address, model = stack.grpc_address, stack.model.name
    await generation.stream(address, stack.api_key, model, messages, MAX_TOKENS, show)
    out.print("\n")


def _line(stack: Stack, ready_s: float) -> dict[str, object]:
    return {
        "http_url": stack.http_url,
        "grpc_address": stack.grpc_address,
        "api_key": stack.api_key,
        "model": stack.model.name,
        "ready_s": round(ready_s, 2),
    }


def _introduce(stack: Stack, ready_s: float) -> None:
    """Where it listens, and two ways to call it, ready to paste."""
    out.print(
        f"""
Weir is ready after {ready_s:.1f} s.

  OpenAI API  {stack.http_url}/v1
  gRPC API    {stack.grpc_address}
  API key     {stack.api_key}
  model       {stack.model.name}

With curl:

curl -N {stack.http_url}/v1/chat/completions \\
  -H "Authorization: Bearer {stack.api_key}" -H "Content-Type: application/json" \\
  -d '{{"model": "{stack.model.name}", "stream": true,
       "messages": [{{"role": "user", "content": "{PROMPT}"}}]}}'

With Python (pip install openai):

from openai import OpenAI
client = OpenAI(base_url="{stack.http_url}/v1", api_key="{stack.api_key}")
for chunk in client.chat.completions.create(
    model="{stack.model.name}", stream=True,
    messages=[{{"role": "user", "content": "{PROMPT}"}}],
):
    print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="", flush=True)
""",
        markup=False,
        soft_wrap=True,
    )
