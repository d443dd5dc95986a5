"""Both clients do the same: each test runs over each of them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import weir
from weir.errors import (
    DeadlineExceeded,
    InvalidApiKey,
    InvalidArgument,
    RateLimited,
    Unavailable,
)

EXPECTED = weir.Generation(
    request_id="req_1",
    model="weir-tales",
    text="Once upon",
    finish_reason=weir.FinishReason.LENGTH,
    usage=weir.Usage(3, 1, 2),
    cost_nanos=4500,
    currency="USD",
    findings=(weir.Finding("email", "redact", "output", 1, 5),),
)


class InThreads:
    """The synchronous client, used from threads, so that the gateway beside it can answer."""

    def __init__(self, client: weir.Client) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: asyncio.to_thread(
            getattr(self.client, name), *args, **kwargs
        )

    async def told(self, *args: Any, take: int = 99, **kwargs: Any) -> tuple[list[str], Any]:
        def tell() -> tuple[list[str], Any]:
            texts = []
            with self.client.stream(*args, **kwargs) as stream:
                for text in stream:
                    texts.append(text)
                    if len(texts) == take:
                        break
            return texts, stream

        return await asyncio.to_thread(tell)


class InLoop:
    """The asynchronous client."""

    def __init__(self, client: weir.AsyncClient) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    async def told(self, *args: Any, take: int = 99, **kwargs: Any) -> tuple[list[str], Any]:
        texts = []
        async with self.client.stream(*args, **kwargs) as stream:
            async for text in stream:
                texts.append(text)
                if len(texts) == take:
                    break
        return texts, stream


@pytest.fixture(params=["sync", "async"])
async def client(request: Any, room: Any) -> AsyncIterator[Any]:
    if request.param == "sync":
        with weir.Client(room.address, "weir_sk_test") as client:
            yield InThreads(client)
    else:
        async with weir.AsyncClient(room.address, "weir_sk_test") as client:
            yield InLoop(client)


async def test_a_text_is_generated_at_once(client: Any) -> None:
    assert await client.generate("weir-tales", "tell") == EXPECTED


async def test_a_text_is_streamed_and_its_result_is_there_at_the_end(client: Any) -> None:
    texts, stream = await client.told("weir-tales", "tell")
    assert texts == ["Once", " upon"]
    assert stream.result == EXPECTED and stream.request_id == "req_1"


async def test_every_option_is_sent(client: Any, room: Any) -> None:
    messages = [weir.Message("system", "be brief"), weir.Message("user", "tell")]
    await client.generate(
        "weir-tales",
        messages,
        request_id="mine",
        max_output_tokens=9,
        temperature=0.0,
        top_p=0.5,
        top_k=0,
        seed=0,
        stop="end",
        ignore_eos=True,
    )
    await client.generate("weir-tales", "tell", temperature=None)
    full, bare = room.specs
    assert [(m.role, m.content) for m in full.chat.messages] == [
        ("system", "be brief"),
        ("user", "tell"),
    ]
    assert full.max_output_tokens == 9 and list(full.stop) == ["end"]
    sampling = full.sampling
    assert all(sampling.HasField(name) for name in ("temperature", "top_p", "top_k", "seed"))
    assert sampling.ignore_eos
    assert bare.prompt == "tell" and not bare.HasField("max_output_tokens")
    assert not bare.sampling.HasField("temperature")


async def test_a_result_without_a_cost_says_so(client: Any, room: Any) -> None:
    room.has_cost = False
    generation = await client.generate("weir-tales", "tell")
    assert (generation.cost_nanos, generation.currency) == (None, None)


async def test_tokens_are_counted_and_models_listed(client: Any) -> None:
    assert await client.count_tokens("weir-tales", "four") == 4
    assert await client.count_tokens("weir-tales", [weir.Message("user", "tell me")]) == 7
    assert await client.models() == [weir.Model("weir-tales", 512, 7)]


async def test_an_error_is_its_type_with_all_that_it_says(client: Any, room: Any) -> None:
    room.error = RateLimited("slow down", retry_after_s=1.5)
    for call in (client.generate, client.told, client.count_tokens):
        with pytest.raises(RateLimited, match="slow down") as caught:
            await call("weir-tales", "tell")
        assert caught.value.retry_after_s == 1.5


async def test_leaving_a_stream_cancels_it(client: Any, room: Any) -> None:
    room.hangs = True
    texts, stream = await client.told("weir-tales", "tell", take=1)
    async with asyncio.timeout(5):
        await room.cancelled.wait()
    assert texts == ["Once"]
    with pytest.raises(RuntimeError, match="not ended"):
        _ = stream.result


async def test_a_deadline_ends_a_call(client: Any, room: Any) -> None:
    room.hangs = True
    for call in (client.generate, client.told):
        with pytest.raises(DeadlineExceeded):
            await call("weir-tales", "tell", deadline_s=0.2)


async def test_values_that_cannot_be_sent_are_refused_before_they_are(client: Any) -> None:
    for options in ({"max_output_tokens": 2**40}, {"seed": -1}, {"temperature": "hot"}):
        with pytest.raises(InvalidArgument):
            await client.generate("weir-tales", "tell", **options)
    with pytest.raises(InvalidArgument):
        await client.generate("weir-tales", "\ud800")


async def test_a_wrong_key_is_refused(room: Any) -> None:
    async with weir.AsyncClient(room.address, "weir_sk_other") as client:
        with pytest.raises(InvalidApiKey):
            await client.models()
    for key in ("", "with\nnewline", "schlüssel"):
        with pytest.raises(InvalidArgument):
            weir.Client(room.address, key)


def test_a_gateway_that_is_not_there_is_named() -> None:
    away = pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 cannot be reached")
    with weir.Client("127.0.0.1:1", "weir_sk_test") as client, away:
        client.generate("weir-tales", "tell")
