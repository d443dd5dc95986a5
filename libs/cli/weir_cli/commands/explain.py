"""`weir explain`: why a token of an answer was chosen."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from math import exp
from typing import Annotated, Any

import typer

from weir import AsyncClient, Generation, Message
from weir_cli.admin import TIMEOUT_S, Admin, admin
from weir_cli.failure import Failure
from weir_cli.generation import Input
from weir_cli.screen import AsJson, err, out, print_json, print_table
from weir_cli.tokens import Tokens
from weir_contracts.inference.v1 import inference_pb2, inference_pb2_grpc

EXPLAIN_TIMEOUT_S = 300
SHOWN_MAX = 40
BAR_CELLS = 30
CHANGES = ("redact", "block")


class Method(StrEnum):
    """How to attribute."""

    GRADIENT = "gradient"
    INTEGRATED = "integrated"


METHODS = {
    Method.GRADIENT: inference_pb2.ATTRIBUTION_METHOD_GRADIENT_X_INPUT,
    Method.INTEGRATED: inference_pb2.ATTRIBUTION_METHOD_INTEGRATED_GRADIENTS,
}


@dataclass(frozen=True)
class Answer:
    """A generation as the model read and wrote it."""

    generation: Generation
    prompt_ids: list[int]
    output_ids: list[int]


def explain(
    prompt: Annotated[str, typer.Argument(help="What to ask.")],
    model: Annotated[
        str, typer.Option(help="A model or an adapter. Unset: the model that the stack serves.")
    ] = "",
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of the answer at most.")] = 20,
    token: Annotated[
        int, typer.Option(help="Which token of the answer, from 0; -1 is the last.")
    ] = -1,
    method: Annotated[
        Method,
        typer.Option(
            help="gradient: at once, how a small change would tell; integrated: slower, and adds "
            "up to what all tokens together changed."
        ),
    ] = Method.GRADIENT,
    as_json: AsJson = False,
) -> None:
    """Generate an answer, always the likeliest token, and attribute one token to those before."""
    found = asyncio.run(_explain(prompt, model, max_tokens, token, method))
    if as_json:
        print_json(found)
    else:
        _show(found)


async def _explain(
    prompt: str, model: str, max_tokens: int, number: int, method: Method
) -> dict[str, Any]:
    async with admin() as stack:
        model = model or stack.stack.model
        tokens = Tokens(stack, await _tokenizer_of(stack, model))
        asked: Input = [Message("user", prompt)] if await tokens.can_chat() else prompt
        answer = await _answer(stack, tokens, model, asked, max_tokens)
        number = _number_of(number, len(answer.output_ids))
        output_ids = answer.output_ids[: number + 1]
        request = inference_pb2.ExplainRequest(
            model=model,
            prompt_token_ids=answer.prompt_ids,
            output_token_ids=output_ids,
            method=METHODS[method],
        )
        stub = inference_pb2_grpc.ExplanationServiceStub(stack.channel("inference"))
        explained = await stub.Explain(request, timeout=EXPLAIN_TIMEOUT_S)
        *before, text = await tokens.texts(answer.prompt_ids + output_ids)
    n_prompt, generation = len(answer.prompt_ids), answer.generation
    return {
        "request_id": generation.request_id,
        "model": model,
        "text": generation.text,
        "method": str(method),
        "token": {"number": number, "text": text, "logprob": explained.logprob},
        "attributions": [
            {
                "where": "prompt" if place < n_prompt else "output",
                "number": place if place < n_prompt else place - n_prompt,
                "text": token_text,
                "attribution": attribution,
            }
            for place, (token_text, attribution) in enumerate(
                zip(before, explained.attributions, strict=True)
            )
        ],
        "cost_nanos": generation.cost_nanos,
        "currency": generation.currency,
    }


async def _tokenizer_of(stack: Admin, model: str) -> str:
    """A model's has its name; an adapter has its model's."""
    stub = inference_pb2_grpc.ModelRepositoryServiceStub(stack.channel("inference"))
    answer = await stub.ListModels(inference_pb2.ListModelsRequest(), timeout=TIMEOUT_S)
    served = {one.name: one.base_model or one.name for one in answer.models}
    if model not in served:
        raise Failure(f"there is no model {model!r}; served: {', '.join(served)}")
    return served[model]


async def _answer(
    stack: Admin, tokens: Tokens, model: str, asked: Input, max_tokens: int
) -> Answer:
    """Ask through the gateway, as everybody does; then find the tokens behind the texts."""
    async with AsyncClient(stack.stack.grpc_address, stack.demo_key) as client:
        generation = await client.generate(
            model, asked, max_output_tokens=max_tokens, temperature=0.0, top_logprobs=0
        )
    changed = [finding.rule for finding in generation.findings if finding.action in CHANGES]
    if changed:
        raise Failure(
            f"the rule {changed[0]!r} changed what the model read or wrote: "
            "there are no such tokens to explain"
        )
    if not generation.text:
        raise Failure("the model ended its answer at once: there is no token to explain")
    output_ids = await tokens.of_output(generation.text)
    written = [token.text for token in generation.logprobs]
    if await tokens.texts(output_ids) != written:
        err.print(
            "The model wrote this text in other tokens than its tokenizer makes of it; "
            "the tokenizer's are explained.",
            style="yellow",
        )
    return Answer(generation, await tokens.of_prompt(asked), output_ids)


def _number_of(number: int, n_output: int) -> int:
    """Which of the output's tokens is meant, from 0."""
    if not -n_output <= number < n_output:
        raise Failure(f"the answer has {n_output} tokens: --token is from 0 to {n_output - 1}")
    return number % n_output


def _show(found: dict[str, Any]) -> None:
    token, attributions = found["token"], found["attributions"]
    out.print(found["text"], style="bold", markup=False, soft_wrap=True)
    out.print(
        f"\ntoken {token['number']}, {token['text']!r}, had the probability "
        f"{exp(token['logprob']):.3f} (log {token['logprob']:.3f}); "
        "of that the tokens before it gave █ or took ▒:\n",
        markup=False,
        soft_wrap=True,
    )
    sizes = sorted((abs(one["attribution"]) for one in attributions), reverse=True)
    least = sizes[SHOWN_MAX - 1] if len(sizes) > SHOWN_MAX else 0.0
    print_table(
        ("where", "number", "token", "attribution", ""),
        [
            (
                one["where"],
                one["number"],
                repr(one["text"]),
                f"{one['attribution']:.3f}",
                _bar(one["attribution"], sizes[0]),
            )
            for one in attributions
            if abs(one["attribution"]) >= least
        ],
    )
    if least:
        err.print(f"The {SHOWN_MAX} that count most of {len(sizes)}; --json has all.", style="dim")


def _bar(attribution: float, largest: float) -> str:
    cells = round(abs(attribution) / largest * BAR_CELLS) if largest else 0
    return ("█" if attribution > 0 else "▒") * cells
