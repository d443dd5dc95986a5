"""Callers of an Open Inference Protocol server over gRPC, the same for every contender.

`python -m models.load ADDRESS MODEL FILE CALLERS SECONDS [METADATA_KEY=VALUE …]`; prints JSON.
"""

import asyncio
import json
import statistics
import sys
import time

import grpc
import numpy as np
import onnxruntime

from models.rows import rows
from weir_contracts.oip.v2 import inference_pb2 as pb
from weir_contracts.oip.v2.inference_pb2_grpc import GRPCInferenceServiceStub

DATATYPES = {np.float32: "FP32", np.int32: "INT32", np.int64: "INT64"}
WARM_UP = 64


def request_of(model: str, file: str) -> pb.ModelInferRequest:
    """One row, raw."""
    session = onnxruntime.InferenceSession(file)
    made = rows(session, 1)
    return pb.ModelInferRequest(
        model_name=model,
        inputs=[
            pb.ModelInferRequest.InferInputTensor(
                name=name, datatype=DATATYPES[tensor.dtype.type], shape=tensor.shape
            )
            for name, tensor in made.items()
        ],
        raw_input_contents=[tensor.tobytes() for tensor in made.values()],
    )


async def load(
    address: str,
    request: pb.ModelInferRequest,
    callers: int,
    seconds: float,
    metadata: tuple[tuple[str, str], ...],
) -> dict[str, float]:
    """Requests per second and latencies of so many callers, none of whom pauses."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = GRPCInferenceServiceStub(channel).ModelInfer
        await asyncio.gather(
            *(call(request, metadata=metadata, timeout=60) for _ in range(WARM_UP))
        )
        spent_s: list[float] = []
        failed = 0
        began_s = time.perf_counter()

        async def calling() -> None:
            nonlocal failed
            while time.perf_counter() - began_s < seconds:
                at_s = time.perf_counter()
                try:
                    await call(request, metadata=metadata, timeout=60)
                except grpc.aio.AioRpcError:
                    failed += 1
                spent_s.append(time.perf_counter() - at_s)

        await asyncio.gather(*(calling() for _ in range(callers)))
        took_s = time.perf_counter() - began_s
    spent_s.sort()
    return {
        "req_s": (len(spent_s) - failed) / took_s,
        "p50_ms": 1000 * statistics.median(spent_s),
        "p99_ms": 1000 * spent_s[int(0.99 * len(spent_s))],
        "failed": failed,
    }


if __name__ == "__main__":
    address, model, file, callers, seconds, *pairs = sys.argv[1:]
    metadata = tuple(tuple(pair.split("=", 1)) for pair in pairs)
    print(
        json.dumps(
            asyncio.run(
                load(address, request_of(model, file), int(callers), float(seconds), metadata)
            )
        )
    )
