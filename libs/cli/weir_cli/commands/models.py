"""`weir models`: what is served, and the repository behind it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from weir_cli.admin import TIMEOUT_S, Admin, admin
from weir_cli.failure import Failure
from weir_cli.manifest import MANIFEST, manifest_text, write_manifest
from weir_cli.screen import AsJson, moment, out, print_json, print_table
from weir_cli.source import absolute
from weir_contracts.inference.v1 import inference_pb2, inference_pb2_grpc
from weir_kit.errors import DeadlineExceeded
from weir_kit.status import raising_weir_errors

LOAD_TIMEOUT_S = 3600  # many gigabytes may have to come, and be read
UNLOAD_TIMEOUT_S = 60

app = typer.Typer()

Name = Annotated[str, typer.Argument(help="What requests ask for it by.")]
GONE = inference_pb2.WatchModelsResponse.CHANGE_GONE


@app.callback(invoke_without_command=True)
def models(context: typer.Context, as_json: AsJson = False) -> None:
    """List what is served; or load, unload, alias, watch and pack models.

    Narrow screens show less; --json has all.
    """
    if context.invoked_subcommand is not None:
        return
    found = [_fields(model) for model in asyncio.run(_list())]
    if as_json:
        print_json(found)
        return
    print_table(
        (
            *("model", "task", "version", "engine", "parameters", "numbers", "context"),
            *("vocabulary", "architecture", "since"),
        ),
        [
            (
                model["name"],
                model["task"],
                model["version"] or "-",
                model["engine"],
                f"{model['parameters']:,}" if model["parameters"] else "",
                model["quantization"] or model["dtype"],
                model["context_tokens"] or "",
                model["vocab_size"] or "",
                _architecture(model),
                moment(model["loaded_at_s"]),
            )
            for model in found
        ],
        optional=("vocabulary", "since", "architecture", "context", "numbers", "parameters"),
    )


@app.command()
def load(
    name: Name,
    version: Annotated[
        str, typer.Option(help="A version of the repository. Unset: the newest.")
    ] = "",
    source: Annotated[
        str,
        typer.Option(
            help="Where it comes from if not from the repository: a folder, "
            "hf://org/name@revision, or a URL that fsspec knows."
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Load a version and serve it, also after a restart; calls of what it replaces run on."""
    request = inference_pb2.LoadModelRequest(name=name, version=version, source=absolute(source))
    model = _fields(asyncio.run(_load(request)))
    if as_json:
        print_json(model)
        return
    out.print(f"{_line(model)} is served", markup=False, soft_wrap=True)


@app.command()
def unload(
    name: Name,
    version: Annotated[str, typer.Option(help="This version alone. Unset: all.")] = "",
    as_json: AsJson = False,
) -> None:
    """Serve a model no longer, also after a restart; running calls come to their end."""
    asyncio.run(_unload(name, version))
    if as_json:
        print_json({"name": name, "version": version})
    else:
        out.print(f"{_named(name, version)} is unloaded", markup=False, soft_wrap=True)


@app.command()
def alias(
    name: Name,
    word: Annotated[str, typer.Argument(metavar="ALIAS", help="Such as stable or canary.")],
    version: Annotated[
        str, typer.Argument(help="What it means from now on. Unset: it means nothing any more.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Let an alias mean a version, also after a restart; stable is what calls get by default."""
    asyncio.run(_set_alias(name, word, version))
    if as_json:
        print_json({"name": name, "alias": word, "version": version})
    else:
        meaning = f"means {_named(name, version)}" if version else "means no version"
        out.print(f"{name}@{word} {meaning}", markup=False, soft_wrap=True)


@app.command()
def watch(as_json: AsJson = False) -> None:
    """Show what is served, then each change as it happens, until Ctrl-C."""
    with suppress(KeyboardInterrupt):
        asyncio.run(_watch(as_json))


@app.command()
def pack(
    folder: Annotated[Path, typer.Argument(help="Of one version: model.yaml, weights, …")],
    as_json: AsJson = False,
) -> None:
    """Write a version's SHA256SUMS, by which it is verified whenever it is loaded."""
    sums = write_manifest(folder)
    digest = hashlib.sha256(manifest_text(sums).encode()).hexdigest()
    if as_json:
        print_json({"folder": str(folder.resolve()), "digest": digest, "files": sums})
        return
    told = f"{folder / MANIFEST} has {len(sums)} files; the version's digest is\n{digest}"
    out.print(told, markup=False, soft_wrap=True)


async def _list() -> list[inference_pb2.Model]:
    async with admin() as stack:
        answer = await _stub(stack).ListModels(inference_pb2.ListModelsRequest(), timeout=TIMEOUT_S)
    return list(answer.models)


async def _load(request: inference_pb2.LoadModelRequest) -> inference_pb2.Model:
    async with admin() as stack:
        return (await _stub(stack).LoadModel(request, timeout=LOAD_TIMEOUT_S)).model


async def _unload(name: str, version: str) -> None:
    async with admin() as stack:
        request = inference_pb2.UnloadModelRequest(name=name, version=version)
        try:
            with raising_weir_errors():
                await _stub(stack).UnloadModel(request, timeout=UNLOAD_TIMEOUT_S)
        except DeadlineExceeded:
            raise Failure(
                f"calls of {_named(name, version)} still run after {UNLOAD_TIMEOUT_S} s; new ones "
                "may be refused already: see `weir models`"
            ) from None


async def _set_alias(name: str, alias: str, version: str) -> None:
    async with admin() as stack:
        request = inference_pb2.SetAliasRequest(name=name, alias=alias, version=version)
        await _stub(stack).SetAlias(request, timeout=LOAD_TIMEOUT_S)  # it is loaded first


async def _watch(as_json: bool) -> None:
    async with admin() as stack:
        async for change in _changes(stack):
            model = _fields(change.model)
            happened = "gone" if change.change == GONE else "served"
            if as_json:
                print_json({"change": happened, **model})
            else:
                out.print(f"{happened:<8}{_line(model)}", markup=False, soft_wrap=True)


async def _changes(stack: Admin) -> AsyncIterator[inference_pb2.WatchModelsResponse]:
    """What is served, then the changes, for as long as the service does not end the stream."""
    served: dict[tuple[str, str], inference_pb2.Model] = {}
    while True:
        try:
            with raising_weir_errors():
                async for change in _stub(stack).WatchModels(inference_pb2.WatchModelsRequest()):
                    key = (change.model.name, change.model.version)
                    if change.change == GONE:
                        served.pop(key, None)
                    elif served.get(key) == change.model:
                        continue  # told again at the start of a new stream
                    else:
                        served[key] = change.model
                    yield change
            return
        except DeadlineExceeded:
            continue  # every stream between services has an end


def _stub(stack: Admin) -> "inference_pb2_grpc.ModelRepositoryServiceAsyncStub":
    return inference_pb2_grpc.ModelRepositoryServiceStub(stack.channel("inference"))


def _architecture(model: dict[str, Any]) -> str:
    base_model = model["base_model"]
    return f"adapter of {base_model}" if base_model else str(model["architecture"])


def _line(model: dict[str, Any]) -> str:
    about = [model["task"], model["engine"] and f"by {model['engine']}", model["digest"][:12]]
    return "  ".join(filter(None, (_named(model["name"], model["version"]), *about)))


def _named(name: str, version: str) -> str:
    return f"{name} {version}" if version else name


def _fields(model: inference_pb2.Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "task": model.task,
        "version": model.version,
        "digest": model.digest,
        "architecture": model.architecture,
        "parameters": model.parameters,
        "dtype": model.dtype,
        "quantization": model.quantization,
        "context_tokens": model.context_tokens,
        "vocab_size": model.vocab_size,
        "engine": model.engine,
        "loaded_at_s": model.loaded_at_s,
        "base_model": model.base_model,
        "labels": dict(model.labels),
        "inputs": [_tensor(one) for one in model.inputs],
        "outputs": [_tensor(one) for one in model.outputs],
    }


def _tensor(spec: inference_pb2.TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
