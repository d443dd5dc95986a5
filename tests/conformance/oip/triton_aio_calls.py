"""What users of `tritonclient.grpc.aio` do. Run by `test_clients.py`, where that is installed."""

import asyncio
import os
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException


def inputs(n: int) -> list[InferInput]:
    made = [InferInput(name, [1], "INT32") for name in ("a", "b")]
    for one in made:
        one.set_data_from_numpy(np.array([n], np.int32))
    return made


def client() -> InferenceServerClient:
    return InferenceServerClient(os.environ["OIP_ADDRESS"])


def test_many_calls_at_once():
    async def calls() -> list[int]:
        async with client() as opened:
            assert await opened.is_server_ready() and await opened.is_model_ready("add_sub")
            answers = await asyncio.gather(*(opened.infer("add_sub", inputs(n)) for n in range(50)))
        return [int(answer.as_numpy("sum")[0]) for answer in answers]

    assert asyncio.run(calls()) == [2 * n for n in range(50)]


def test_an_error_has_its_status():
    async def call() -> None:
        async with client() as opened:
            await opened.infer("add_sub", inputs(1)[:1])

    with pytest.raises(InferenceServerException, match="'b' is missing") as refused:
        asyncio.run(call())
    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_a_stream_answers_in_order_and_outlives_errors():
    async def requests() -> Any:
        for n in range(50):
            yield {"model_name": "gone" if n == 7 else "add_sub", "inputs": inputs(n)}

    async def answers() -> list[Any]:
        async with client() as opened:
            return [answer async for answer in opened.stream_infer(requests(), stream_timeout=20)]

    for n, (result, error) in enumerate(asyncio.run(answers())):
        if n == 7:
            assert "gone" in error.message()
        else:
            assert result.as_numpy("sum").tolist() == [2 * n]


def test_a_stream_can_be_left():
    async def requests(left: asyncio.Event) -> Any:
        yield {"model_name": "add_sub", "inputs": inputs(1)}
        await left.wait()

    async def leave() -> bool:
        left = asyncio.Event()
        async with client() as opened:
            stream = opened.stream_infer(requests(left))
            async for result, error in stream:
                assert error is None and result.as_numpy("sum").tolist() == [2]
                stream.cancel()
                break
            left.set()
            return await opened.is_server_live()

    assert asyncio.run(leave())
