"""`weir adapters`: LoRA adapters beside the models that they change."""

import asyncio
from typing import Annotated, Any

import typer

from weir_cli.admin import TIMEOUT_S, Admin, admin
from weir_cli.failure import Failure
from weir_cli.screen import AsJson, moment, out, print_json, print_table
from weir_cli.source import absolute
from weir_contracts.inference.v1 import inference_pb2, inference_pb2_grpc
from weir_kit.errors import DeadlineExceeded
from weir_kit.status import raising_weir_errors

LOAD_TIMEOUT_S = 600  # the hub may be asked
UNLOAD_TIMEOUT_S = 60

app = typer.Typer(help="Load, unload and list LoRA adapters.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="What requests ask for it by, as they do for a model.")]


@app.command()
def load(
    name: Name,
    source: Annotated[str, typer.Argument(help="A folder as PEFT writes it, or a hub id.")],
    model: Annotated[
        str, typer.Option(help="The model that it changes. Unset: the one that the stack serves.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Load an adapter and serve it, until it is unloaded or inference stops."""
    adapter = _fields(asyncio.run(_load(name, absolute(source), model)))
    if as_json:
        print_json(adapter)
        return
    out.print(
        f"{name} is served: {adapter['base_model']} with an adapter of "
        f"{adapter['parameters']:,} parameters",
        soft_wrap=True,
    )
    out.print(f"  weir chat --model {name} 'Once upon a time'", soft_wrap=True)


@app.command()
def unload(name: Name, as_json: AsJson = False) -> None:
    """Unload an adapter: new requests for it are refused, those that run come to their end."""
    asyncio.run(_unload(name))
    if as_json:
        print_json({"name": name})
    else:
        out.print(f"{name} is unloaded")


@app.command(name="list")
def list_adapters(as_json: AsJson = False) -> None:
    """List the adapters that are loaded."""
    found = [_fields(adapter) for adapter in asyncio.run(_list())]
    if as_json:
        print_json(found)
        return
    print_table(
        ("adapter", "of the model", "parameters", "since"),
        [
            (
                adapter["name"],
                adapter["base_model"],
                f"{adapter['parameters']:,}",
                moment(adapter["loaded_at_s"]),
            )
            for adapter in found
        ],
    )


async def _load(name: str, source: str, model: str) -> inference_pb2.Model:
    async with admin() as stack:
        request = inference_pb2.LoadAdapterRequest(
            name=name, base_model=model or stack.stack.model, source=source
        )
        return (await _stub(stack).LoadAdapter(request, timeout=LOAD_TIMEOUT_S)).model


async def _unload(name: str) -> None:
    async with admin() as stack:
        request = inference_pb2.UnloadAdapterRequest(name=name)
        try:
            with raising_weir_errors():
                await _stub(stack).UnloadAdapter(request, timeout=UNLOAD_TIMEOUT_S)
        except DeadlineExceeded:
            raise Failure(
                f"requests for {name} still run after {UNLOAD_TIMEOUT_S} s: it stays loaded; "
                "try again when they have ended"
            ) from None


async def _list() -> list[inference_pb2.Model]:
    async with admin() as stack:
        answer = await _stub(stack).ListModels(inference_pb2.ListModelsRequest(), timeout=TIMEOUT_S)
    return [model for model in answer.models if model.base_model]


def _stub(stack: Admin) -> "inference_pb2_grpc.ModelRepositoryServiceAsyncStub":
    return inference_pb2_grpc.ModelRepositoryServiceStub(stack.channel("inference"))


def _fields(adapter: inference_pb2.Model) -> dict[str, Any]:
    return {
        "name": adapter.name,
        "base_model": adapter.base_model,
        "parameters": adapter.parameters,
        "loaded_at_s": adapter.loaded_at_s,
    }
