"""Several outputs of one request, log-probabilities and echo, over peers in memory."""

from typing import Any

import pytest

from weir_gateway.core.call import FinishReason, Outcome, Piece, Usage
from weir_kit.errors import Internal, InvalidArgument

TEXT = "once upon a time"


def texts_of(events: list[Any], n: int) -> list[str]:
    pieces = [event for event in events if isinstance(event, Piece)]
    return ["".join(p.text for p in pieces if p.output == output) for output in range(n)]


def tokens_of(events: list[Any], output: int = 0) -> str:
    """The texts of the tokens that were told, put together."""
    pieces = [e for e in events if isinstance(e, Piece) and e.output == output]
    return "".join(token.text for piece in pieces for token in piece.logprobs)


async def test_outputs_come_side_by_side_and_are_charged_together(world: Any) -> None:
    world.more_texts = ("long ago", "far away, so far")
    events = await world.run(n=3, max_output_tokens=12)
    assert texts_of(events, 3) == ["once upon a ", "long ago", "far away, so"]
    outputs = [event.output for event in events if isinstance(event, Piece)]
    assert outputs != sorted(outputs), "none waits for another's end"
    outcome = events[-1]
    assert isinstance(outcome, Outcome)
    assert outcome.usage == Usage(4, 0, 12 + 8 + 12)
    assert world.settled == [outcome.usage]
    assert world.reserved[0][:2] == (4, 3 * 12)
    assert world.engines_started == 1


async def test_each_output_is_screened_and_stopped_on_its_own(world: Any) -> None:
    world.text, world.more_texts = "it went BOOM" + "x" * 300, ("go on, stop" + "y" * 300, "z" * 90)
    events = await world.run(n=3, stop=("stop",), max_output_tokens=90)
    assert texts_of(events, 3) == ["it went ", "go on, ", "z" * 90]
    assert [ended.finish for ended in events[-1].outputs] == [
        FinishReason.CONTENT_FILTER,
        FinishReason.STOP,
        FinishReason.STOP,
    ]
    assert [finding.rule for finding in events[-1].outputs[0].findings] == ["boom"]
    assert world.records[0].outcome == "content_filter"
    # What the engine went on with after an output's end is not charged.
    assert world.settled[0].output_tokens < 90 + 40 + 40
    assert world.engines_running == 0


async def test_the_engine_is_left_when_the_last_output_has_ended(world: Any) -> None:
    world.text, world.more_texts = "stop" + "x" * 400, ("go on, stop" + "y" * 400,)
    running_at_settle = []
    world.on_step = lambda step, name: (
        running_at_settle.append(world.engines_running) if name == "settle" else None
    )
    await world.run(n=2, stop=("stop",), max_output_tokens=400)
    assert running_at_settle == [0]
    assert world.settled[0].output_tokens < 100


async def test_an_answer_at_once_has_every_choice(world: Any) -> None:
    world.more_texts = ("long ago",)
    completion = await world.generation.complete(world.call(streamed=False, n=2, top_logprobs=1))
    assert [choice.text for choice in completion.choices] == [TEXT, "long ago"]
    for choice in completion.choices:
        assert "".join(token.text for token in choice.logprobs) == choice.text
        assert [token.start for token in choice.logprobs] == [*range(len(choice.text))]
    await world.closings.drain()


async def test_tokens_are_told_with_their_text(world: Any) -> None:
    events = await world.run(top_logprobs=2)
    assert tokens_of(events) == TEXT
    pieces = [event for event in events if isinstance(event, Piece)]
    released = 0
    for piece in pieces:
        released += len(piece.text)
        assert all(token.start < released for token in piece.logprobs)
    token = pieces[0].logprobs[0]
    assert (token.text, token.logprob, token.top) == ("o", -1.0, (("o", -1.0), ("p", -2.0)))


async def test_nothing_is_told_unless_it_is_asked_for(world: Any) -> None:
    names = []
    world.on_step = lambda step, name: names.append(name)
    events = await world.run()
    assert tokens_of(events) == "" and "token texts" not in names


@pytest.mark.parametrize("tokens_a_delta", [1, 4, 99])
async def test_of_what_a_rule_replaced_or_withheld_nothing_is_told(
    world: Any, tokens_a_delta: int
) -> None:
    world.tokens_a_delta = tokens_a_delta
    world.text = "mail me@home or else"
    assert "mail me".startswith(tokens_of(await world.run(top_logprobs=5)))
    again = type(world)(text="it went BOOM and then", tokens_a_delta=tokens_a_delta)
    assert "it went ".startswith(tokens_of(await again.run(top_logprobs=5)))


async def test_of_a_stop_string_nothing_is_told(world: Any) -> None:
    world.text = "one two three and four"
    events = await world.run(stop=("three",), top_logprobs=0)
    assert tokens_of(events) == texts_of(events, 1)[0] == "one two "


async def test_an_echo_comes_first_with_the_prompt_s_tokens(world: Any) -> None:
    world.more_texts = ("long ago",)
    events = await world.run(input="tell: ", echo=True, top_logprobs=1, n=2)
    assert texts_of(events, 2) == ["tell: " + TEXT, "tell: long ago"]
    assert tokens_of(events, 0) == "tell: " + TEXT and tokens_of(events, 1) == "tell: long ago"
    first = next(event for event in events if isinstance(event, Piece) and event.logprobs)
    assert (first.logprobs[0].logprob, first.logprobs[1].logprob) == (None, -1.0)
    assert world.settled == [Usage(6, 0, len(TEXT) + 8)]


async def test_an_echo_is_screened_as_output_and_says_what_the_engine_read(world: Any) -> None:
    events = await world.run(input="go BOOM", echo=True)
    assert texts_of(events, 1) == ["go "]
    again = type(world)(redacted="[secret] ")
    events = await again.run(input="weir_sk ", echo=True, top_logprobs=0)
    assert texts_of(events, 1) == ["[secret] " + TEXT]


@pytest.mark.parametrize("top_logprobs", [None, 1])
async def test_a_prompt_alone_is_charged_for_no_output(
    world: Any, top_logprobs: int | None
) -> None:
    events = await world.run(
        input="tell", echo=True, max_output_tokens=0, top_logprobs=top_logprobs
    )
    assert texts_of(events, 1) == ["tell"]
    assert tokens_of(events) == ("" if top_logprobs is None else "tell")
    assert events[-1].outputs[0].finish is FinishReason.LENGTH
    assert world.settled == [Usage(4, 0, 0)]
    assert world.reserved[0][:2] == (4, 1)
    assert world.engines_running == 0


async def test_more_log_probabilities_than_an_answer_holds_are_refused(world: Any) -> None:
    world.context_tokens = 100_000
    with pytest.raises(InvalidArgument) as caught:
        await world.run(n=16, max_output_tokens=1000, top_logprobs=20)
    assert caught.value.field == "top_logprobs"
    with pytest.raises(InvalidArgument):
        await world.run(
            request_id="req_2", input="x" * 90_000, echo=True, max_output_tokens=1, top_logprobs=5
        )
    assert world.holds == {}
    await world.closings.drain()


async def test_a_prompt_that_the_engine_does_not_score_is_an_error_of_ours(world: Any) -> None:
    generate = world.generate

    async def forget(*arguments: Any) -> Any:
        async for delta in generate(*arguments):
            if delta.prompt_scored is None:
                yield delta

    world.generate = forget
    with pytest.raises(Internal, match="before it scored the prompt"):
        await world.run(input="tell", echo=True, top_logprobs=1)
    await world.closings.drain()
    assert world.holds == {"req_1": "released"}
