"""The life of one request, over peers in memory."""

import asyncio
from typing import Any

import pytest

from weir_gateway.core.call import (
    Ended,
    FinishReason,
    Message,
    Money,
    Outcome,
    Piece,
    Started,
    Usage,
)
from weir_kit.errors import (
    Conflict,
    ContextLengthExceeded,
    DeadlineExceeded,
    InsufficientCredit,
    InvalidArgument,
    ModelNotFound,
    QueueFull,
    Unavailable,
)

TEXT = "once upon a time"


def text_of(events: list[Any]) -> str:
    return "".join(event.text for event in events if isinstance(event, Piece))


async def test_a_request_goes_through_every_peer_and_is_charged(world: Any) -> None:
    events = await world.run()
    assert isinstance(events[0], Started) and events[0].rate_limit.limit == 60
    assert text_of(events) == TEXT
    ended = (Ended(FinishReason.STOP),)
    assert events[-1] == Outcome(ended, Usage(4, 0, 16), Money(20, "USD"), ())
    assert world.settled == [Usage(4, 0, 16)] and world.releases == 0
    assert world.reserved == [(4, 256, 90)]
    [record] = world.records
    assert (record.outcome, record.charged) == ("stop", Money(20, "USD"))


async def test_an_adapter_is_read_and_priced_as_its_model_but_generates_as_itself(
    world: Any,
) -> None:
    world.model_names, world.base_models = ("tales", "tuned"), {"tuned": "tales"}
    events = await world.run(model="tuned", top_logprobs=1)
    assert text_of(events) == TEXT
    assert world.tokenizers == {"tales"}
    [priced] = world.priced
    assert (priced.name, priced.base_model) == ("tuned", "tales")
    assert [call.model for call in world.calls] == ["tuned"]
    assert [record.model for record in world.records] == ["tuned"]


async def test_the_charge_is_real_before_the_outcome_is_sent(world: Any) -> None:
    async for event in world.generation.generate(world.call()):
        if isinstance(event, Outcome):
            assert world.settled == [event.usage]
    await world.closings.drain()


async def test_an_answer_at_once_is_the_whole_text(world: Any) -> None:
    completion = await world.generation.complete(world.call(streamed=False))
    assert [choice.text for choice in completion.choices] == [TEXT]
    assert completion.outcome.usage == Usage(4, 0, 16)
    await world.closings.drain()


async def test_what_is_pending_goes_as_one_message(world: Any) -> None:
    answered = asyncio.Event()

    def slow_decoder(step: int, name: str) -> None:
        if name == "finish":
            answered.set()

    world.on_step = slow_decoder
    generator = world.generation.generate(world.call())
    await anext(generator)
    await answered.wait()  # the client takes nothing more until the engine is done
    assert text_of([event async for event in generator]) == TEXT
    assert len(world.fed) <= 3
    assert sum(map(len, world.fed)) == len(TEXT)
    await world.closings.drain()


async def test_a_stop_string_cancels_the_engine_and_ends_the_text(world: Any) -> None:
    world.text = "one two three " + "x" * 400
    events = await world.run(stop=("three",))
    assert text_of(events) == "one two "
    assert events[-1].finish is FinishReason.STOP
    assert world.engines_running == 0
    [usage] = world.settled
    assert len("one two three") <= usage.output_tokens < 100


async def test_the_engine_is_cancelled_before_the_charge_is_settled(world: Any) -> None:
    running_at_settle = []
    world.text = "stop here" + "x" * 400
    world.on_step = lambda step, name: (
        running_at_settle.append(world.engines_running) if name == "settle" else None
    )
    await world.run(stop=("here",))
    assert running_at_settle == [0]


async def test_a_blocking_rule_ends_the_text_and_cancels_the_engine(world: Any) -> None:
    world.text = "it went BOOM and then " + "x" * 400
    events = await world.run()
    assert text_of(events) == "it went "
    assert events[-1].finish is FinishReason.CONTENT_FILTER
    assert [finding.rule for finding in events[-1].findings] == ["boom"]
    assert world.engines_running == 0
    assert world.records[0].outcome == "content_filter"
    assert len(world.settled) == 1 and world.settled[0].output_tokens < 100


async def test_a_redacted_input_is_encoded_again(world: Any) -> None:
    world.redacted = (Message("user", "[redacted]"),)
    await world.run()
    assert world.encoded[-1] == world.redacted
    assert world.reserved[0][0] == len("[redacted]")


async def test_the_key_is_checked_before_the_input_is_blamed(world: Any) -> None:
    def refuse(step: int, name: str) -> None:
        if name == "admitted":
            raise QueueFull("stands for any refusal")

    world.on_step = refuse
    with pytest.raises(QueueFull):
        await world.run(model="nosuch")
    assert world.reserved == [] and world.records == []


async def test_an_unknown_model_is_recorded_and_nothing_is_held(world: Any) -> None:
    with pytest.raises(ModelNotFound):
        await world.run(model="nosuch")
    await world.closings.drain()
    assert world.holds == {} and world.releases == 0
    assert world.records[0].outcome == "MODEL_NOT_FOUND"


@pytest.mark.parametrize(
    ("asked", "context_tokens", "reserved"), [(None, 512, 256), (None, 100, 96), (96, 100, 96)]
)
async def test_output_fits_the_context(
    world: Any, asked: int | None, context_tokens: int, reserved: int
) -> None:
    world.context_tokens = context_tokens
    await world.run(max_output_tokens=asked)
    assert world.reserved[0][1] == reserved


@pytest.mark.parametrize(("asked", "context_tokens"), [(97, 100), (None, 4), (None, 3)])
async def test_what_does_not_fit_the_context_is_refused(
    world: Any, asked: int | None, context_tokens: int
) -> None:
    world.context_tokens = context_tokens
    with pytest.raises(ContextLengthExceeded, match=f"{context_tokens} tokens") as caught:
        await world.run(max_output_tokens=asked)
    assert caught.value.field == ("max_output_tokens" if asked else "messages")
    assert world.holds == {}
    await world.closings.drain()


async def test_an_input_without_tokens_is_refused(world: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await world.run(input=(Message("user", ""),))
    assert caught.value.field == "messages"
    assert world.holds == {}
    await world.closings.drain()


async def test_a_refused_reservation_is_not_released(world: Any) -> None:
    def refuse(step: int, name: str) -> None:
        if name == "reserve":
            raise InsufficientCredit("no credit")

    world.on_step = refuse
    with pytest.raises(InsufficientCredit):
        await world.run()
    await world.closings.drain()
    assert world.releases == 0 and world.settled == []
    assert world.records[0].outcome == "INSUFFICIENT_CREDIT"
    assert world.engines_started == 0


async def test_two_requests_of_one_id_never_run_at_once(world: Any) -> None:
    first = world.generation.generate(world.call())
    await anext(first)
    with pytest.raises(Conflict) as caught:
        await anext(world.generation.generate(world.call()))
    assert caught.value.field == "request_id"
    await first.aclose()
    with pytest.raises(Conflict):  # the first one's money is not closed yet
        await anext(world.generation.generate(world.call()))
    await world.closings.drain()


async def test_a_finished_request_is_not_run_again_under_its_hold(world: Any) -> None:
    await world.run()
    with pytest.raises(Conflict):
        await world.run()
    await world.closings.drain()
    assert len(world.settled) == 1 and world.releases == 0
    assert world.engines_started == 1


async def test_a_wrong_field_reaches_no_peer(world: Any) -> None:
    with pytest.raises(InvalidArgument):
        await world.run(max_output_tokens=0)
    assert world.steps == 0


async def test_a_request_past_its_deadline_is_released(world: Any) -> None:
    world.on_step = lambda step, name: world.clock.advance(61) if name == "reserved" else None
    with pytest.raises(DeadlineExceeded):
        await world.run()
    await world.closings.drain()
    assert world.holds == {"req_1": "released"}
    assert world.records[0].outcome == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize(("failures", "tries"), [(2, 3), (3, 4)])
async def test_settling_is_tried_again_while_billing_is_away(
    world: Any, failures: int, tries: int
) -> None:
    seen = []

    def away(step: int, name: str) -> None:
        if name == "settle":
            seen.append(name)
            if len(seen) <= failures:
                raise Unavailable("away")

    world.on_step = away
    events = await world.run()
    assert len(seen) == tries
    assert events[-1].cost == Money(20, "USD")


async def test_when_billing_stays_away_the_text_is_delivered_without_a_cost(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def away(step: int, name: str) -> None:
        if name == "settle":
            raise Unavailable("away")

    world.on_step = away
    events = await world.run()
    assert text_of(events) == TEXT
    assert events[-1].cost is None
    assert world.records[0].charged is None
    assert "req_1 was not closed at billing" in caplog.text


async def test_an_engine_that_ends_without_finishing_is_an_error_of_ours(world: Any) -> None:
    world.finish = None
    with pytest.raises(Exception, match="ended before the generation did"):
        await world.run()
    await world.closings.drain()
    assert world.records[0].outcome == "INTERNAL"
