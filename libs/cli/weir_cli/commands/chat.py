"""`weir chat`: talk to a model."""

import asyncio
import dataclasses
import sys
from typing import Annotated

import typer

from weir import Generation, Message
from weir_cli import generation
from weir_cli.admin import admin
from weir_cli.failure import Failure
from weir_cli.screen import AsJson, err, money, out, print_json
from weir_kit.errors import ContextLengthExceeded, WeirError

TURNS_MAX = 100


def chat(
    prompt: Annotated[
        str | None,
        typer.Argument(help="Ask this, print the answer and end. Unset: a conversation."),
    ] = None,
    model: Annotated[str, typer.Option(help="Unset: the model that the stack serves.")] = "",
    api_key: Annotated[
        str, typer.Option(envvar="WEIR_API_KEY", help="Unset: the stack's demo key.")
    ] = "",
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")] = 200,
    temperature: Annotated[
        float, typer.Option(min=0.0, max=2.0, help="0: always the likeliest token.")
    ] = generation.TEMPERATURE,
    as_json: AsJson = False,
) -> None:
    """Chat with a model, answers streaming in; an empty line or Ctrl-D ends it."""
    if prompt is None and as_json:
        raise Failure("--json needs a prompt: weir chat --json 'Once upon a time'")
    talk = asyncio.run(_talk(api_key, model, max_tokens, temperature))
    if prompt is None:
        _converse(talk)
    elif as_json:
        print_json(dataclasses.asdict(asyncio.run(talk.say(prompt, shown=False))))
    else:
        _cost_of(asyncio.run(talk.say(prompt, shown=True)))


async def _talk(api_key: str, model: str, max_tokens: int, temperature: float) -> "Talk":
    async with admin() as stack:
        return Talk(
            stack.stack.grpc_address,
            api_key or stack.demo_key,
            model or stack.stack.model,
            max_tokens,
            temperature,
        )


def _converse(talk: "Talk") -> None:
    """Turn by turn, an event loop each: input() wants the main thread, and Ctrl-C while at it."""
    err.print(f"Talking to {talk.model}; an empty line ends it.", style="dim")
    for _ in range(TURNS_MAX):
        try:
            line = input("you › ").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if not line:
            return
        try:
            _cost_of(asyncio.run(talk.say(line, shown=True)))
        except WeirError as error:
            err.print(error.message, style="red", markup=False)
        except KeyboardInterrupt:
            err.print("… stopped", style="dim")


class Talk:
    """A conversation so far. What no longer fits the model's context is forgotten, oldest first."""

    def __init__(
        self, address: str, api_key: str, model: str, max_tokens: int, temperature: float
    ) -> None:
        self.model = model
        self._address = address
        self._api_key = api_key
        self._max_tokens = max_tokens
        self._temperature = temperature
        self._messages: list[Message] = []

    async def say(self, text: str, *, shown: bool) -> Generation:
        """Say something; the answer. Raises WeirErrors; what was said is then not remembered."""
        asked = [*self._messages, Message("user", text)]
        while True:
            try:
                answer = await self._ask(asked, shown)
                break
            except ContextLengthExceeded:
                if len(asked) == 1:
                    raise
                asked = asked[2:]  # a question and its answer
        if shown:
            out.print()
        self._messages = [*asked, Message("assistant", answer.text)]
        return answer

    async def _ask(self, asked: list[Message], shown: bool) -> Generation:
        return await generation.stream(
            self._address,
            self._api_key,
            self.model,
            asked,
            self._max_tokens,
            show if shown else lambda _: None,
            temperature=self._temperature,
        )


def show(text: str) -> None:
    """Put text on the screen as it comes."""
    sys.stdout.write(text)
    sys.stdout.flush()


def _cost_of(answer: Generation) -> None:
    used = f"{answer.usage.input_tokens} + {answer.usage.output_tokens} tokens"
    cost = money(answer.cost_nanos, answer.currency)
    err.print(f"{used}, {cost}, {answer.request_id}", style="dim", markup=False)
