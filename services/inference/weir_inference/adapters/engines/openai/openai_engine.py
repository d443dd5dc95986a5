"""An engine whose model runs on an OpenAI-compatible upstream (`POST /completions`, streamed)."""

import asyncio
import json
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import httpx

from weir_inference.adapters.engines.openai.api_key import api_key
from weir_inference.adapters.engines.openai.bad_answer import BadAnswer
from weir_inference.adapters.engines.openai.body import completion_body
from weir_inference.adapters.engines.openai.checked_transport import (
    AddressRefused,
    CheckedTransport,
    Resolve,
    resolve,
)
from weir_inference.adapters.engines.openai.chunk import parse_chunk
from weir_inference.adapters.engines.openai.completion import Completion
from weir_inference.adapters.engines.openai.openai_settings import OpenAiSettings
from weir_inference.adapters.engines.openai.spelling import Spelling
from weir_inference.adapters.engines.openai.upstream import AnswerLimits, Upstream
from weir_inference.core.breaker import Breaker
from weir_inference.core.engine import (
    Event,
    Finished,
    Generation,
    Load,
    ModelDescription,
    Started,
)
from weir_inference.core.explanation import Explanation, ExplanationRequest
from weir_inference.core.grammar import Grammar, GrammarSpec
from weir_inference.core.request import EndReason, Request
from weir_inference.core.streamed_requests import StreamedRequests
from weir_inference.core.upstream_spec import UpstreamSpec
from weir_kit.clock import Clock
from weir_kit.errors import InvalidArgument, ModelNotFound, Unavailable
from weir_kit.telemetry import start_span, status_name_of, traceparent_of

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 4.0  # shorter than uvicorn's 5: who closes an idle connection should be us
KEPT_ALIVE_MAX = 32
EVENT_BYTES = 256 << 10
EVENT_BYTES_PER_PROMPT_TOKEN = 16  # vLLM tells the prompt's ids with the first chunk
BODY_BYTES_PER_OUTPUT_TOKEN = 8 << 10  # a chunk for each, with twenty log-probabilities


class UnfitUpstream(ValueError):
    """The upstream that a model's folder names cannot be used. The message says why."""


@asynccontextmanager
async def open_openai_engine(
    name: str,
    tokenizer: Path,
    spec: UpstreamSpec,
    settings: OpenAiSettings,
    clock: Clock,
    *,
    resolve: Resolve = resolve,
    seed: int | None = None,
) -> AsyncIterator["OpenAiEngine"]:
    """The engine of a model on an upstream, which need not answer yet. Drained on leaving.

    `seed` is of the pauses between tries. Raises `UnfitUpstream`, `BadKey`, and `ValueError` for a
    bad tokenizer.json.
    """
    headers = {"accept-encoding": "identity", "user-agent": "weir"}
    if spec.api_key_file is not None:
        if not (spec.url.startswith("https:") or settings.allow_private):
            raise UnfitUpstream("upstream.url must be https: a key would be sent in the clear")
        key = await asyncio.to_thread(api_key, settings.keys, spec.host, spec.api_key_file)
        headers["authorization"] = f"Bearer {key}"
    spelling = await asyncio.to_thread(Spelling, tokenizer)
    limits = httpx.Limits(
        max_connections=None,  # what is under way is bounded by `requests_max`
        max_keepalive_connections=KEPT_ALIVE_MAX,
        keepalive_expiry=KEEP_ALIVE_S,
    )
    inner = httpx.AsyncHTTPTransport(verify=httpx.create_ssl_context(), limits=limits)
    transport = CheckedTransport(inner, resolve, settings.allow_private)
    async with httpx.AsyncClient(
        transport=transport, headers=headers, follow_redirects=False, trust_env=False
    ) as client:
        await _check_address(transport, spec)
        pauses = random.Random(seed)  # noqa: S311 - no secret
        upstream = Upstream(name, spec, client, Breaker(clock), settings.backoff_s, pauses)
        model = ModelDescription(
            name=name,
            engine="openai",
            architecture="",
            context_tokens=spec.context_tokens,
            vocab_size=spelling.vocab_size,
            parameters=0,
            dtype="",
            loaded_at_s=clock.now_s(),
        )
        requests = StreamedRequests(model, settings.requests_max, clock)
        try:
            yield OpenAiEngine(model, spec, upstream, spelling, requests, clock)
        finally:
            await requests.stop()


async def _check_address(transport: CheckedTransport, spec: UpstreamSpec) -> None:
    """Refuse at once what every request would be refused for; a name may be unknown yet."""
    url = httpx.URL(spec.url)
    try:
        async with asyncio.timeout(spec.connect_timeout_s):
            await transport.addresses(url.host, url.port or 0)
    except AddressRefused as error:
        raise UnfitUpstream(f"upstream.url: {error}") from None
    except (httpx.ConnectError, TimeoutError):
        log.warning("the host %s of an upstream has no address yet", url.host)


class OpenAiEngine:
    """An `Engine`. `usage_mismatches` counts answers whose reported usage was not as counted here.

    The upstream keeps its own prefix cache, of which tenants are not told apart.
    """

    def __init__(
        self,
        model: ModelDescription,
        spec: UpstreamSpec,
        upstream: Upstream,
        spelling: Spelling,
        requests: StreamedRequests,
        clock: Clock,
    ) -> None:
        self.model: ModelDescription = model
        self.usage_mismatches = 0
        self._spec = spec
        self._upstream = upstream
        self._spelling = spelling
        self._requests = requests
        self._clock = clock

    def submit(self, request: Request) -> Generation:
        """See `Engine.submit`; also raises `InvalidArgument` for what the upstream cannot do."""
        token_ids = request.prompt_token_ids
        prompt = list(token_ids) if self._spec.token_ids else self._spelling.text_of(token_ids)
        body = json.dumps(completion_body(request, self._spec, prompt)).encode()
        return self._requests.submit(request, lambda: self._stream(request, body))

    def load(self) -> Load:
        """See `Engine.load`."""
        return self._requests.load()

    def stalled_s(self) -> float:
        """Never: starting this process again would not mend an upstream."""
        return 0.0

    async def compile_grammar(self, spec: GrammarSpec) -> Grammar:
        """Refused: an upstream that does not know a grammar's field passes over it in silence."""
        raise InvalidArgument(
            "this model runs on an upstream, where no grammar is followed",
            field=f"sampling.grammar.{spec.kind}",
        )

    async def load_adapter(self, name: str, source: str) -> ModelDescription:
        """Refused."""
        raise InvalidArgument(
            "this model runs on an upstream: serve its adapter there, and name it by a model.yaml",
            field="source",
        )

    async def unload_adapter(self, name: str) -> None:
        """There is none."""
        raise ModelNotFound(f"there is no adapter {name!r}")

    async def explain(self, request: ExplanationRequest) -> Explanation:
        """Refused."""
        raise InvalidArgument("a model that runs on an upstream cannot be explained", field="model")

    async def _stream(self, request: Request, body: bytes) -> AsyncGenerator[Event, None]:
        span = start_span("upstream", kind="client", model=self._spec.model)
        status = "CANCELLED"
        try:
            async with aclosing(
                self._events(request, body, traceparent_of(span.context))
            ) as events:
                async for event in events:
                    yield event
            status = "OK"
        except Exception as error:
            status = status_name_of(error)
            raise
        finally:
            span.end(status)

    async def _events(
        self, request: Request, body: bytes, traceparent: str
    ) -> AsyncGenerator[Event, None]:
        began_s, started = self._clock.monotonic_s(), False
        completion = Completion(request, self._spelling)
        answer = self._upstream.events(body, traceparent, _limits(request))
        try:
            async with aclosing(answer):
                async for data in answer:
                    if not started:
                        started = True
                        yield Started(self._clock.monotonic_s() - began_s)
                    delta = completion.take(parse_chunk(data))
                    if delta is not None:
                        yield delta
                    if completion.cut:
                        break
        except BadAnswer as error:
            log.warning("the upstream of %s: %s", self.model.name, error)
            raise Unavailable("the upstream of this model gives no proper answer") from None
        except Unavailable:
            if completion.reason is None:
                raise  # else all tokens are here, and only the end of the answer is missing
        if completion.reason is None:
            log.warning("the upstream of %s gives no finish_reason", self.model.name)
            raise Unavailable("the upstream of this model gives no proper answer")
        self._compare(request, completion)
        yield Finished(completion.reason)

    def _compare(self, request: Request, completion: Completion) -> None:
        """Our count is what is billed; a usage that is not the same is told to the operator."""
        usage = completion.usage
        if usage is None or completion.cut:
            return
        n_input, n_output = len(request.prompt_token_ids), completion.output_tokens
        # Some count the token that ends the output.
        most = n_output + (completion.reason is EndReason.STOP)
        if usage.input_tokens == n_input and n_output <= usage.output_tokens <= most:
            return
        self.usage_mismatches += 1
        log.warning(
            "the upstream of %s counts %d tokens in and %d out, Weir %d and %d",
            self.model.name,
            usage.input_tokens,
            usage.output_tokens,
            n_input,
            n_output,
        )


def _limits(request: Request) -> AnswerLimits:
    event_bytes = EVENT_BYTES + EVENT_BYTES_PER_PROMPT_TOKEN * len(request.prompt_token_ids)
    body_bytes = 2 * event_bytes + BODY_BYTES_PER_OUTPUT_TOKEN * request.max_output_tokens
    return AnswerLimits(event_bytes, body_bytes)
