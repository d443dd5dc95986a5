"""One upstream over HTTP: tries, time limits, the breaker, and the events of an answer."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass

import httpx

from weir_inference.adapters.engines.openai.bad_answer import BadAnswer
from weir_inference.adapters.engines.openai.checked_transport import AddressRefused
from weir_inference.adapters.engines.openai.event_lines import EventLines
from weir_inference.adapters.engines.openai.rejection import Rejection, rejection_of
from weir_inference.core.breaker import Breaker, Passage
from weir_inference.core.upstream_spec import UpstreamSpec
from weir_kit.errors import Unavailable

log = logging.getLogger(__name__)

ERROR_BYTES_MAX = 64 << 10
RETRY_S = 1.0
PAUSE_S_MAX = 10.0  # who wants to be left alone for longer is not asked again for this call
DRAIN_S = 0.5  # from the last event to the end of the body, after which the connection is reused
DONE = "[DONE]"


@dataclass(frozen=True)
class AnswerLimits:
    """Bounds of one answer's size."""

    event_bytes: int
    body_bytes: int


class Upstream:
    """The completions of one upstream. `client` may have no time limits: they are kept here."""

    def __init__(
        self,
        name: str,
        spec: UpstreamSpec,
        client: httpx.AsyncClient,
        breaker: Breaker,
        backoff_s: float,
        randomness: random.Random,
    ) -> None:
        self._name = name
        self._spec = spec
        self._client = client
        self._breaker = breaker
        self._backoff_s = backoff_s
        self._random = randomness
        self._timeout = httpx.Timeout(None, connect=spec.connect_timeout_s)

    async def events(
        self, body: bytes, traceparent: str, limits: AnswerLimits
    ) -> AsyncGenerator[str, None]:
        """The data of the events that answer a request, up to `[DONE]`.

        Tries again while nothing has come. Raises the WeirError that ended it; closed half-way, it
        closes the connection, by which the upstream knows to stop.
        """
        for n_tried in range(self._spec.retries + 1):
            passage = self._breaker.enter()
            began_s = asyncio.get_running_loop().time()
            try:
                response = await self._send(body, traceparent, passage)
            except Rejection as rejection:
                if not rejection.tried_again or n_tried == self._spec.retries:
                    raise rejection.error from None
                if rejection.pause_s > PAUSE_S_MAX:
                    raise rejection.error from None
                pause_s = self._random.uniform(0, self._backoff_s * 2**n_tried)
                await asyncio.sleep(min(rejection.pause_s + pause_s, PAUSE_S_MAX))
                continue
            first_by_s = began_s + self._spec.first_token_timeout_s
            async with aclosing(self._read(response, passage, limits, first_by_s)) as events:
                async for data in events:
                    yield data
            return

    async def _send(self, body: bytes, traceparent: str, passage: Passage) -> httpx.Response:
        """The answer whose body is to come. Raises `Rejection`."""
        headers = {"content-type": "application/json", "accept": "text/event-stream"}
        if traceparent:
            headers["traceparent"] = traceparent
        request = self._client.build_request(
            "POST",
            f"{self._spec.url}/completions",
            content=body,
            headers=headers,
            timeout=self._timeout,
        )
        try:
            async with asyncio.timeout(self._spec.first_token_timeout_s):
                response = await self._client.send(request, stream=True)
                if response.status_code != 200:
                    async with aclosing(response):
                        raise self._rejected(response, await _beginning_of(response), passage)
        except (httpx.HTTPError, TimeoutError) as error:
            passage.went_badly()
            self._tell(error)
            again = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            raise Rejection(self._away(), tried_again=again) from None
        except BaseException:
            passage.leave()
            raise
        return response

    def _rejected(self, response: httpx.Response, body: bytes, passage: Passage) -> Rejection:
        status = response.status_code
        if 400 <= status < 500:
            passage.went_well()
        else:
            passage.went_badly()
        log.warning("the upstream of %s answers with status %d", self._name, status)
        return rejection_of(status, response.headers, body)

    async def _read(
        self, response: httpx.Response, passage: Passage, limits: AnswerLimits, first_by_s: float
    ) -> AsyncGenerator[str, None]:
        """The data of each event, within the time limits. Leaves the response closed."""
        loop = asyncio.get_running_loop()
        lines, n_bytes = EventLines(limits.event_bytes), 0
        next_by_s = first_by_s
        async with aclosing(response):
            try:
                _check_kind(response)
                chunks = response.aiter_raw()
                while True:
                    async with asyncio.timeout_at(next_by_s):
                        chunk = await anext(chunks, None)
                    if chunk is None:
                        raise BadAnswer("an answer ends before it is done")
                    n_bytes += len(chunk)
                    if n_bytes > limits.body_bytes:
                        raise BadAnswer(f"an answer is larger than {limits.body_bytes} bytes")
                    for data in lines.feed(chunk):
                        passage.went_well()
                        if data == DONE:
                            await _drain(chunks)
                            return
                        yield data
                        next_by_s = loop.time() + self._spec.read_timeout_s
            except (httpx.HTTPError, TimeoutError, BadAnswer) as error:
                passage.went_badly()
                self._tell(error)
                raise self._away() from None
            finally:
                passage.leave()

    def _away(self) -> Unavailable:
        return Unavailable("the upstream of this model does not answer", retry_after_s=RETRY_S)

    def _tell(self, error: Exception) -> None:
        """What an operator should know; other errors' words may hold what was sent."""
        said = f": {error}" if isinstance(error, BadAnswer | AddressRefused) else ""
        log.warning("the upstream of %s: %s%s", self._name, type(error).__name__, said)


async def _beginning_of(response: httpx.Response) -> bytes:
    """Of an error's body, what is enough to read it; empty where it is too large."""
    found = bytearray()
    async for chunk in response.aiter_raw():
        found += chunk
        if len(found) > ERROR_BYTES_MAX:
            return b""
    return bytes(found)


def _check_kind(response: httpx.Response) -> None:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/event-stream":
        raise BadAnswer("an answer is no event stream")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise BadAnswer("an answer is compressed, which was not asked for")


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read the end of the body: then the connection can be used again, else it is closed."""
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(DRAIN_S):
            await anext(chunks, None)
