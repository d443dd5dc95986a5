"""`weir models`: what is served."""

import asyncio
from typing import Any

from weir_cli.admin import TIMEOUT_S, admin
from weir_cli.screen import AsJson, moment, print_json, print_table
from weir_contracts.inference.v1 import inference_pb2, inference_pb2_grpc


def models(as_json: AsJson = False) -> None:
    """List the models and adapters that are loaded."""
    found = asyncio.run(_models())
    if as_json:
        print_json(found)
        return
    print_table(
        (
            "model",
            "architecture",
            "parameters",
            "numbers",
            "context",
            "vocabulary",
            "engine",
            "since",
        ),
        [
            (
                model["name"],
                _architecture(model),
                f"{model['parameters']:,}",
                model["quantization"] or model["dtype"],
                model["context_tokens"],
                model["vocab_size"],
                model["engine"],
                moment(model["loaded_at_s"]),
            )
            for model in found
        ],
    )


def _architecture(model: dict[str, Any]) -> str:
    base_model = model["base_model"]
    return f"adapter of {base_model}" if base_model else str(model["architecture"])


async def _models() -> list[dict[str, Any]]:
    async with admin() as stack:
        stub = inference_pb2_grpc.ModelRepositoryServiceStub(stack.channel("inference"))
        answer = await stub.ListModels(inference_pb2.ListModelsRequest(), timeout=TIMEOUT_S)
    return [
        {
            "name": model.name,
            "architecture": model.architecture,
            "parameters": model.parameters,
            "dtype": model.dtype,
            "quantization": model.quantization,
            "context_tokens": model.context_tokens,
            "vocab_size": model.vocab_size,
            "engine": model.engine,
            "loaded_at_s": model.loaded_at_s,
            "base_model": model.base_model,
        }
        for model in answer.models
    ]
