"""Peers in memory: what core's ports promise, with a step counted at every await."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from weir_gateway.core.call import (
    Action,
    Call,
    Charge,
    Finding,
    FinishReason,
    Input,
    Message,
    Money,
    Outcome,
    Piece,
    Prompt,
    RateLimit,
    Started,
    Usage,
    Work,
)
from weir_gateway.core.closings import Closings
from weir_gateway.core.generate import Generation
from weir_gateway.core.logprob import Scored
from weir_gateway.core.models import Models
from weir_gateway.core.ports import (
    Admission,
    AnyCall,
    Decoded,
    Delta,
    Model,
    Ports,
    Principal,
    Record,
    Screened,
)
from weir_gateway.core.predict import Predictions
from weir_gateway.core.prediction import Answer, Predicted, PredictionCall, Texts
from weir_gateway.core.running import Running
from weir_kit.clock import ManualClock
from weir_kit.errors import Conflict, NotFound

BLOCKED_WORD = "BOOM"
REDACTED_CHARACTER = "@"
HOLD_BACK_CHARS = 3


@dataclass
class World:
    """All four peers: one token is one character, one currency unit of nanos a token or an item.

    `more_texts` are those of the outputs after the first. The model `moods` classifies texts.
    """

    text: str = "once upon a time"
    more_texts: tuple[str, ...] = ()
    tokens_a_delta: int = 1
    finish: FinishReason = FinishReason.STOP
    context_tokens: int = 512
    redacted: Input | None = None
    redacted_texts: tuple[str, ...] | None = None
    model_names: tuple[str, ...] = ("tales", "moods")
    base_models: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, str] = field(default_factory=lambda: {"moods": "text-classification"})
    allowed_models: frozenset[str] = frozenset()

    steps: int = 0
    on_step: Callable[[int, str], None] = lambda step, name: None
    holds: dict[str, str] = field(default_factory=dict)
    reserved: list[tuple[int, int, int]] = field(default_factory=list)
    reserved_work: list[Work] = field(default_factory=list)
    priced: list[Model] = field(default_factory=list)
    tokenizers: set[str] = field(default_factory=set)
    settled: list[Charge] = field(default_factory=list)
    releases: int = 0
    records: list[Record] = field(default_factory=list)
    engines_running: int = 0
    engines_started: int = 0
    decoders: list["World._Decoder"] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    predicted: list[PredictionCall] = field(default_factory=list)
    encoded: list[Input] = field(default_factory=list)
    models_asked: int = 0

    def __post_init__(self) -> None:
        self.clock = ManualClock()
        self.closings = Closings(backoffs_s=(0.0, 0.0, 0.0))
        ports = Ports(policy=self, tokenizer=self, inference=self, billing=self)
        self.models_on_offer = Models(self, self.clock)
        around = (ports, self.models_on_offer, Running(self.closings), self.closings, self.clock)
        self.generation, self.predictions = Generation(*around), Predictions(*around)

    def call(self, **changes: object) -> Call:
        plain = Call(
            request_id="req_1",
            api_key="weir_sk_x",
            model="tales",
            input=(Message("user", "tell"),),
            timeout_s=60.0,
            streamed=True,
        )
        return replace(plain, **changes)  # type: ignore[arg-type]

    def prediction(self, **changes: object) -> PredictionCall:
        plain = PredictionCall(
            request_id="req_1",
            api_key="weir_sk_x",
            model="moods",
            input=Texts(("good", "bad")),
            timeout_s=60.0,
        )
        return replace(plain, **changes)  # type: ignore[arg-type]

    async def ask(self, **changes: object) -> Predicted:
        """One prediction, with its closings done."""
        predicted = await self.predictions.predict(self.prediction(**changes))
        await self.closings.drain()
        return predicted

    async def run(self, **changes: object) -> list[Started | Piece | Outcome]:
        """All events of one call, with its closings done."""
        events = [event async for event in self.generation.generate(self.call(**changes))]
        await self.closings.drain()
        return events

    async def step(self, name: str) -> None:
        """Every await of every peer passes here, twice: before its effect and after."""
        self.steps += 1
        self.on_step(self.steps, name)
        await asyncio.sleep(0)

    # Policy

    async def authenticate(self, api_key: str, timeout_s: float) -> Admission:
        await self.step("authenticate")
        return self._admission()

    async def admit(self, call: AnyCall, timeout_s: float) -> Admission:
        await self.step("admit")
        await self.step("admitted")
        return self._admission()

    def _admission(self) -> Admission:
        principal = Principal("acme", "web", "key_1")
        limit = RateLimit(60, 59, 1.0)
        return Admission(
            "jwt",
            principal,
            redacted=self.redacted,
            redacted_texts=self.redacted_texts,
            rate_limit=limit,
            allowed_models=self.allowed_models,
        )

    @asynccontextmanager
    async def screener(
        self, request_id: str, principal: Principal, timeout_s: float
    ) -> AsyncGenerator["World._Screener", None]:
        await self.step("open screen")
        yield World._Screener(self)

    class _Screener:
        def __init__(self, world: "World") -> None:
            self.world, self.text, self.released = world, "", 0

        async def feed(self, text: str, *, last: bool) -> Screened:
            await self.world.step("screen")
            self.text += text
            if (at := self.text.find(BLOCKED_WORD)) >= 0:
                out = self.text[self.released : at]
                found = Finding("boom", Action.BLOCK, "output", at, at + len(BLOCKED_WORD))
                return Screened(out, at + len(BLOCKED_WORD), (found,), "boom")
            upto = len(self.text) if last else max(self.released, len(self.text) - HOLD_BACK_CHARS)
            out, self.released = self.text[self.released : upto], upto
            await self.world.step("screened")
            return Screened(out.replace(REDACTED_CHARACTER, "[at]"), upto)

    async def record(self, record: Record, timeout_s: float) -> None:
        await self.step("record")
        self.records.append(record)
        await self.step("recorded")

    # Tokenizer

    async def encode(self, name: str, text: Input, timeout_s: float) -> tuple[int, ...]:
        await self.step("encode")
        self.encoded.append(text)
        self.tokenizers.add(name)
        contents = text if isinstance(text, str) else "\n".join(m.content for m in text)
        return tuple(map(ord, contents))

    async def count(self, name: str, text: Input, timeout_s: float) -> int:
        return len(await self.encode(name, text, timeout_s))

    @asynccontextmanager
    async def decoder(
        self, name: str, prompt: Prompt, stop: tuple[str, ...], timeout_s: float
    ) -> AsyncGenerator["World._Decoder", None]:
        await self.step("open decode")
        self.tokenizers.add(name)
        self.decoders.append(World._Decoder(self, stop))
        yield self.decoders[-1]

    async def token_texts(
        self, name: str, token_ids: Collection[int], timeout_s: float
    ) -> dict[int, str]:
        await self.step("token texts")
        self.tokenizers.add(name)
        return {token_id: chr(token_id) for token_id in token_ids}

    @property
    def fed(self) -> list[tuple[int, ...]]:
        """What all decoders were given."""
        return [ids for decoder in self.decoders for ids in decoder.fed]

    class _Decoder:
        def __init__(self, world: "World", stop: tuple[str, ...]) -> None:
            self.world, self.stop, self.text, self.emitted = world, stop, "", 0
            self.fed: list[tuple[int, ...]] = []

        async def feed(self, token_ids: tuple[int, ...], *, last: bool) -> Decoded:
            await self.world.step("decode")
            self.fed.append(token_ids)
            self.text += "".join(map(chr, token_ids))
            hits = [at for text in self.stop if (at := self.text.find(text)) >= 0]
            held = max((len(text) - 1 for text in self.stop), default=0)
            upto = min(hits) if hits else len(self.text) - (0 if last else held)
            upto = max(upto, self.emitted)
            out, self.emitted = self.text[self.emitted : upto], upto
            await self.world.step("decoded")
            return Decoded(out, upto, bool(hits))

    # Inference

    async def models(self, timeout_s: float) -> tuple[Model, ...]:
        await self.step("models")
        self.models_asked += 1
        return tuple(
            Model(
                name,
                self.context_tokens,
                0,
                self.base_models.get(name, ""),
                self.tasks.get(name, "generation"),
                "3",
            )
            for name in self.model_names
        )

    async def generate(
        self, call: Call, admission: Admission, prompt: Prompt, timeout_s: float
    ) -> AsyncGenerator[Delta, None]:
        self.engines_running += 1
        self.engines_started += 1
        self.calls.append(call)
        inputs, n_tokens = len(prompt.token_ids), 0
        texts = [text[: prompt.max_output_tokens] for text in (self.text, *self.more_texts)]
        try:
            await self.step("queued")
            yield Delta((), Usage(inputs))
            if call.echo and call.top_logprobs is not None:
                await self.step("prompt scored")
                yield Delta((), Usage(inputs), prompt_scored=_scored(call, prompt.token_ids[1:]))
            for start in range(0, max(map(len, texts)), self.tokens_a_delta):
                for output, text in enumerate(texts[: call.n]):
                    if ids := tuple(map(ord, text[start : start + self.tokens_a_delta])):
                        await self.step("token")
                        n_tokens += len(ids)
                        usage = Usage(inputs, 0, n_tokens)
                        yield Delta(ids, usage, output=output, scored=_scored(call, ids))
            await self.step("finish")
            for output in range(call.n):
                yield Delta((), Usage(inputs, 0, n_tokens), self.finish, output)
        finally:
            self.engines_running -= 1

    async def predict(self, call: PredictionCall, admission: Admission, timeout_s: float) -> Answer:
        self.engines_running += 1
        self.predicted.append(call)
        try:
            await self.step("queued")
            await self.step("computed")
            return Answer("3", ["answer"] * len(call.input), Work(1, len(call.input), 700))
        finally:
            self.engines_running -= 1

    # Billing

    async def reserve(
        self,
        call: AnyCall,
        model: Model,
        admission: Admission,
        worst: Charge,
        ttl_s: int,
        timeout_s: float,
    ) -> bool:
        await self.step("reserve")
        self.priced.append(model)
        if isinstance(worst, Usage):
            self.reserved.append((worst.input_tokens, worst.output_tokens, ttl_s))
        else:
            self.reserved_work.append(worst)
        held = self.holds.setdefault(call.request_id, "held") == "held"
        await self.step("reserved")
        return held

    async def settle(
        self, request_id: str, admission: Admission, charge: Charge, timeout_s: float
    ) -> Money:
        await self.step("settle")
        self._close(request_id, "settled")
        self.settled.append(charge)
        await self.step("settled")
        if isinstance(charge, Work):
            return Money(charge.items, "USD")
        return Money(charge.input_tokens + charge.output_tokens, "USD")

    async def release(self, request_id: str, admission: Admission, timeout_s: float) -> None:
        await self.step("release")
        if request_id not in self.holds:
            raise NotFound("no such hold")
        self._close(request_id, "released")
        self.releases += 1
        await self.step("released")

    def _close(self, request_id: str, state: str) -> None:
        if self.holds.get(request_id) != "held":
            raise Conflict("the hold is closed")
        self.holds[request_id] = state


def _scored(call: Call, token_ids: tuple[int, ...]) -> tuple[Scored, ...]:
    """Each token at -1; the characters after it are less likely."""
    if call.top_logprobs is None:
        return ()
    more = [(i, -1.0 - i) for i in range(call.top_logprobs)]
    return tuple(
        Scored(token_id, -1.0, tuple((token_id + step, logprob) for step, logprob in more))
        for token_id in token_ids
    )


@pytest.fixture
def world() -> World:
    """A world in which everything works."""
    return World()
