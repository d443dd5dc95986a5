"""A client that goes away pays for its input and for what it was given: no more, no less."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

INPUT_NANOS, OUTPUT_NANOS = 500, 1500
PROMPT = (
    "There was once a king who had three sons."  # greedy, the model goes on to its context's end
)
QUIET_S = 1.0
OUTPUT_TOKENS = 400
PIECES = 5
TRIES = 10


class RawStream:
    """A streamed chat on a bare socket, so that the test decides when to read and when to go."""

    def __init__(self, stack: Any, body: dict[str, Any]) -> None:
        url = urlsplit(stack.http_url)
        content = json.dumps(body).encode()
        self._socket = socket.create_connection((url.hostname, url.port), timeout=30)
        self._socket.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: weir\r\n"
            + f"Authorization: Bearer {stack.api_key}\r\n".encode()
            + b"Content-Type: application/json\r\n"
            + f"Content-Length: {len(content)}\r\n\r\n".encode()
            + content
        )
        self._received = b""

    def read_until_pieces(self, n_pieces: int) -> None:
        """Read until that many pieces of text have come; in fewer, the whole may have come."""
        while len(self.pieces) < n_pieces and not self.is_finished:
            self._read()

    def read_for(self, seconds: float) -> None:
        """Read whatever comes in this time."""
        until_s = time.monotonic() + seconds
        with suppress(TimeoutError):
            while (left_s := until_s - time.monotonic()) > 0:
                self._socket.settimeout(left_s)
                self._read()

    def drain(self) -> None:
        """Read all that is under way: until nothing comes for a while."""
        self._socket.settimeout(QUIET_S)
        with suppress(TimeoutError):
            while True:
                self._read()

    def leave(self) -> None:
        self._socket.close()

    @property
    def events(self) -> list[dict[str, Any]]:
        # Chunked transfer coding puts a size line between events; data lines are ours.
        lines = self._received.split(b"\r\n\r\n", 1)[-1].replace(b"\r\n", b"\n").split(b"\n")
        whole = [line for line in lines[:-1] if line.startswith(b"data: {")]
        return [json.loads(line.removeprefix(b"data: ")) for line in whole]

    @property
    def pieces(self) -> list[str]:
        deltas = [event["choices"][0]["delta"] for event in self.events]
        return [delta["content"] for delta in deltas if delta.get("content")]

    @property
    def is_finished(self) -> bool:
        return any(choice["finish_reason"] for e in self.events for choice in e["choices"])

    def _read(self) -> None:
        more = self._socket.recv(65536)
        assert more, f"the stream ended: {self._received[-500:]!r}"
        self._received += more


async def test_it_is_charged_for_input_and_released_tokens_exactly(
    stack: Any, until: Any, paused: Callable[[int], None]
) -> None:
    body = stack.body(PROMPT, max_tokens=OUTPUT_TOKENS, temperature=0)
    input_tokens = await stack.count_tokens(PROMPT)  # which needs inference, from time to time
    inference = stack.pid("inference")
    for _ in range(TRIES):
        stream = RawStream(stack, {**body, "stream": True})
        # With inference held still, what was released is what was received: nothing is in between.
        # Held after each piece, it does not get ahead of the client by many tokens.
        for n_pieces in range(1, PIECES + 1):
            stream.read_until_pieces(n_pieces)
            paused(inference)
            if n_pieces < PIECES:
                os.kill(inference, signal.SIGCONT)
        stream.drain()
        if not stream.is_finished:
            break
        os.kill(inference, signal.SIGCONT)  # it was done before it was held
        stream.leave()
    request_id, received = stream.events[0]["id"], "".join(stream.pieces)
    stream.leave()

    async def charged() -> int | None:
        return await stack.charge_of(request_id)

    charge = await until(charged, "the hold is settled")
    released, rest = divmod(charge - input_tokens * INPUT_NANOS, OUTPUT_NANOS)
    assert rest == 0 and released >= PIECES

    record = await until(lambda: stack.audit_record(request_id), "the audit record is written")
    assert record.record.outcome == "disconnected"
    assert record.record.usage.input_tokens == input_tokens
    assert record.record.usage.output_tokens == released
    assert record.record.charged.nanos == charge

    os.kill(inference, signal.SIGCONT)
    await until(stack.idle, "KV blocks in use return to zero")
    # The same tokens asked for on their own: the client had all their text, and beyond it nothing
    # but a part of its last piece, of a message that was held back in part.
    charged_text = text_of(stack, body, released)
    assert received.startswith(charged_text)
    assert charged_text.startswith("".join(stream.pieces[:-1]))


async def test_one_that_leaves_at_any_moment_leaves_nothing_behind(stack: Any, until: Any) -> None:
    for after_ms in range(40):  # a request reserves, and starts the engine, within these
        stream = RawStream(stack, stack.body(PROMPT, max_tokens=400, stream=True))
        stream.read_for(after_ms / 1000)
        stream.leave()
    await until(stack.idle, "KV blocks in use return to zero")

    async def no_open_hold() -> bool:
        return bool(stack.weir_json("billing", "verify")["open_holds"] == 0)

    await until(no_open_hold, "every hold is settled or released")
    assert stack.weir_json("billing", "verify")["ok"]


def text_of(stack: Any, body: dict[str, Any], tokens: int) -> str:
    """The first tokens' text; greedy, so it is the same every time."""
    answer = stack.openai().chat.completions.create(**{**body, "max_tokens": tokens})
    return answer.choices[0].message.content or ""
