"""A real HTTP server that plays the upstream, and small tokenizers."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from weir_inference.adapters.engines.openai.openai_engine import OpenAiEngine, open_openai_engine
from weir_inference.adapters.engines.openai.openai_settings import OpenAiSettings
from weir_inference.core.upstream_spec import UpstreamSpec
from weir_kit.clock import Clock, SystemClock

HOST = "llm.example"


@dataclass(frozen=True)
class Received:
    """A request as the upstream has it."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Answer:
    """Writes one answer, in chunks of HTTP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def head(self, status: int = 200, **headers: str) -> None:
        told = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
        told |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"HTTP/1.1 {status} Told", *(f"{name}: {value}" for name, value in told.items())]
        self._writer.write("\r\n".join([*lines, "", ""]).encode())
        await self._writer.drain()

    async def bytes(self, *parts: bytes) -> None:
        for part in parts:
            self._writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await self._writer.drain()

    async def chunks(self, *chunks: dict[str, Any]) -> None:
        await self.bytes(*(event(chunk) for chunk in chunks))

    async def end(self) -> None:
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def whole(self, *chunks: dict[str, Any]) -> None:
        """A good answer of these."""
        await self.head()
        await self.chunks(*chunks)
        await self.bytes(b"data: [DONE]\n\n")
        await self.end()

    async def error(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        await self.head(status, content_type="application/json", **headers)
        await self.bytes(body)
        await self.end()

    async def until_gone(self) -> None:
        """Wait until the other side closes the connection, which resets it if bytes are left."""
        with suppress(ConnectionError):
            while await self._reader.read(1 << 16):
                pass

    def die(self) -> None:
        self._writer.transport.abort()


Script = Callable[[Answer], Awaitable[None]]


@dataclass
class FakeUpstream:
    """Answers each request by the next script; the last one goes on for ever."""

    port: int
    scripts: list[Script]
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def plays(self, *scripts: Script) -> None:
        self.scripts = list(scripts)

    async def holds(self, answer: Answer) -> None:
        """A script: one token, then nothing until the caller is gone."""
        await answer.head()
        await answer.chunks(self.tokens(5))
        await answer.until_gone()
        self.gone.set()

    @staticmethod
    def tokens(*token_ids: int, reason: str | None = None, **more: Any) -> dict[str, Any]:
        """A chunk of token ids, as vLLM writes them."""
        choice = {"index": 0, "text": "?", "token_ids": list(token_ids), "finish_reason": reason}
        return {"choices": [choice | more], "usage": None}

    @staticmethod
    def text(text: str, reason: str | None = None) -> dict[str, Any]:
        """A chunk of text, as OpenAI writes them."""
        return {"choices": [{"index": 0, "text": text, "finish_reason": reason, "logprobs": None}]}

    @staticmethod
    def usage(n_input: int, n_output: int) -> dict[str, Any]:
        """The last chunk."""
        return {"choices": [], "usage": {"prompt_tokens": n_input, "completion_tokens": n_output}}

    def answers(self, *chunks: dict[str, Any]) -> None:
        """Answer well, with these, from now on."""
        self.plays(lambda answer: answer.whole(*chunks))


def event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeUpstream]:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream.connections += 1
        open_now.add(asyncio.current_task())
        try:
            while (request := await _read(reader)) is not None:
                upstream.received.append(request)
                script = upstream.scripts[0]
                if len(upstream.scripts) > 1:
                    upstream.scripts.pop(0)
                await script(Answer(reader, writer))
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            open_now.discard(asyncio.current_task())
            writer.transport.abort()

    open_now: set[asyncio.Task[None] | None] = set()
    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    upstream = FakeUpstream(server.sockets[0].getsockname()[1], [])
    try:
        yield upstream
    finally:
        server.close()
        left = [task for task in open_now if task is not None]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(first.split()[1], headers, json.loads(body))


@pytest.fixture(name="serving")
def serving_fixture() -> Callable[..., AbstractAsyncContextManager[FakeUpstream]]:
    """`async with serving(tls) as upstream:`"""
    return serving


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with serving() as upstream:
        yield upstream


Open = Callable[..., Awaitable[OpenAiEngine]]


@pytest.fixture
async def open_engine(upstream: FakeUpstream, tokenizer: Path) -> AsyncIterator[Open]:
    """`await open_engine(token_ids=False)` → an engine of the upstream; the words are its spec's.

    What is given of the other parameters is in place of the usual.
    """

    async def resolve(host: str, port: int) -> list[str]:
        assert host == HOST
        return ["127.0.0.1"]

    async with AsyncExitStack() as opened:

        async def opens(
            *,
            resolve: Callable[[str, int], Awaitable[list[str]]] = resolve,
            settings: OpenAiSettings | None = None,
            clock: Clock | None = None,
            port: int | None = None,
            **changes: Any,
        ) -> OpenAiEngine:
            spec = UpstreamSpec(
                url=f"http://{HOST}:{port or upstream.port}/v1",
                model="big",
                context_tokens=256,
                token_ids=True,
                connect_timeout_s=5.0,
                retries=0,
            )
            return await opened.enter_async_context(
                open_openai_engine(
                    "far",
                    tokenizer,
                    replace(spec, **changes),
                    settings or OpenAiSettings(allow_private=True, backoff_s=0.001),
                    clock or SystemClock(),
                    resolve=resolve,
                    seed=1,
                )
            )

        yield opens


def byte_level() -> Tokenizer:
    """As GPT-2's: every byte has a token, and a few words have theirs."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("h", "e"), ("Ġ", "he"), ("l", "l"), ("Ġhe", "ll"), ("Ġhell", "o")]
    tokenizer = Tokenizer(models.BPE(_vocab(letters, merges), merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def byte_fallback() -> Tokenizer:
    """As Llama 2's: words begin with ▁, and what has no token is spelt in bytes."""
    letters = [*"abcdefghijklmnopqrstuvwxyz.,", "▁", *(f"<0x{byte:02X}>" for byte in range(256))]
    merges = [("h", "e"), ("▁", "he"), ("l", "l"), ("▁he", "ll"), ("▁hell", "o"), ("▁", "▁")]
    vocab = _vocab(letters, merges)
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def _vocab(letters: list[str], merges: list[tuple[str, str]]) -> dict[str, int]:
    words = ["<unk>", "<s>", "</s>", *letters, *(first + second for first, second in merges)]
    return {word: n for n, word in enumerate(words)}


TOKENIZERS = {"byte-level": byte_level, "byte-fallback": byte_fallback}


@pytest.fixture(scope="session")
def tokenizer_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """tokenizer.json of each kind."""
    files = {}
    for name, make in TOKENIZERS.items():
        tokenizer = make()
        tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
        files[name] = tmp_path_factory.mktemp("tokenizers") / f"{name}.json"
        tokenizer.save(str(files[name]))
    return files


@pytest.fixture(scope="session")
def tokenizer(tokenizer_files: dict[str, Path]) -> Path:
    return tokenizer_files["byte-fallback"]
