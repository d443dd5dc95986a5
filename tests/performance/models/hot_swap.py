"""A model replaced again and again under callers: how many calls fail, and who answers them."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from models.load import request_of
from models.servers import MODEL, Server
from weir_contracts.inference.v1 import inference_pb2 as pb
from weir_contracts.inference.v1.inference_pb2_grpc import ModelRepositoryServiceStub
from weir_contracts.oip.v2.inference_pb2_grpc import GRPCInferenceServiceStub

CALLERS = 16
EVERY_S = 2.0


@dataclass
class Swaps:
    """What was seen."""

    answered: int = 0
    failures: list[str] = field(default_factory=list)
    swaps: int = 0
    versions: set[str] = field(default_factory=set)


async def swap_under_load(server: Server, folder: Path, seconds: float) -> Swaps:
    """Load the same files as a new version every `EVERY_S`, while callers never pause."""
    seen, began_s = Swaps(), time.monotonic()
    request = request_of(MODEL, str(folder / "model.onnx"))
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = GRPCInferenceServiceStub(channel).ModelInfer
        repository = ModelRepositoryServiceStub(channel)

        async def calling() -> None:
            while time.monotonic() - began_s < seconds:
                try:
                    answer = await call(request, metadata=server.metadata, timeout=30)
                except grpc.aio.AioRpcError as error:
                    seen.failures.append(f"{error.code().name}: {error.details()}")
                else:
                    seen.answered += 1
                    seen.versions.add(answer.model_version)

        async def swapping() -> None:
            while time.monotonic() - began_s + EVERY_S < seconds:
                await asyncio.sleep(EVERY_S)
                load = pb.LoadModelRequest(name=MODEL, source=str(folder))
                await repository.LoadModel(load, metadata=server.metadata, timeout=60)
                seen.swaps += 1

        await asyncio.gather(swapping(), *(calling() for _ in range(CALLERS)))
    return seen
