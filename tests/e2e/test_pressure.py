"""More than the engine takes, and longer than a request may: 503 and 504."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

PROMPT = "Tell me the longest story that you know."
REQUESTS = 12
TIMEOUT_S = 3


async def test_a_full_queue_is_503_and_a_passed_deadline_504(
    new_home: Path, started: Any, until: Any, paused: Callable[[int], None]
) -> None:
    with started(
        new_home,
        WEIR_INFERENCE_MAX_RUNNING="1",
        WEIR_INFERENCE_MAX_QUEUED="1",
        WEIR_REQUEST_TIMEOUT_S=str(TIMEOUT_S),
    ) as stack:
        async with stack.http() as http:
            await a_full_queue_is_503(stack, http)
            await until(stack.idle, "the engine is idle")
            await a_passed_deadline_is_504(stack, http, paused)
        await until(stack.idle, "KV blocks in use return to zero")
        verified = stack.weir_json("billing", "verify")
        assert verified["ok"] and verified["open_holds"] == 0


async def a_full_queue_is_503(stack: Any, http: httpx.AsyncClient) -> None:
    async def ask() -> httpx.Response:
        body = stack.body(PROMPT, max_tokens=400)
        return await http.post("/v1/chat/completions", json=body)

    answers = await asyncio.gather(*(ask() for _ in range(REQUESTS)))
    assert {answer.status_code for answer in answers} <= {200, 503, 504}
    refused = [answer for answer in answers if answer.status_code == 503]
    assert refused, "twelve requests at once, and none was refused"
    for answer in refused:
        assert answer.json()["error"]["code"] == "queue_full"
        assert int(answer.headers["retry-after"]) >= 1
        assert await stack.charge_of(answer.headers["x-request-id"]) == 0


async def a_passed_deadline_is_504(
    stack: Any, http: httpx.AsyncClient, paused: Callable[[int], None]
) -> None:
    inference = stack.pid("inference")
    paused(inference)
    answer = await http.post("/v1/chat/completions", json=stack.body(PROMPT))
    os.kill(inference, signal.SIGCONT)
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "timeout"
    assert answer.elapsed.total_seconds() < TIMEOUT_S + 2
