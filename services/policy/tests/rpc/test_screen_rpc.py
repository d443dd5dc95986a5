"""Screen, through its stub."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from weir_contracts.policy.v1 import policy_pb2
from weir_kit.errors import InvalidArgument

PRINCIPAL = policy_pb2.Principal(tenant_id="acme", project_id="web", key_id="key_1")
OPENING = policy_pb2.ScreenRequest(
    opening=policy_pb2.ScreenOpening(request_id="req_1", principal=PRINCIPAL)
)


async def requests(chunks: Sequence[str]) -> AsyncIterator[policy_pb2.ScreenRequest]:
    yield OPENING
    for chunk in chunks:
        yield policy_pb2.ScreenRequest(text=chunk)


async def screened(policy: Any, chunks: Sequence[str]) -> list[policy_pb2.ScreenResponse]:
    return [answer async for answer in policy.policy.Screen(requests(chunks))]


async def test_one_answer_for_each_text_and_one_at_the_end(policy: Any) -> None:
    answers = await screened(policy, ["Write to ann@", "example", ".com, or 😀 ", "not"])
    assert len(answers) == 5
    assert "".join(answer.text for answer in answers) == "Write to [email], or 😀 not"
    assert [answer.screened_chars for answer in answers] == [9, 9, 31, 31, 34]
    assert [(f.rule, f.start, f.end) for answer in answers for f in answer.findings] == [
        ("email", 9, 24)
    ]
    assert len(await screened(policy, [])) == 1


async def test_an_answer_comes_before_the_next_text_is_sent(policy: Any) -> None:
    call = policy.policy.Screen()
    await call.write(OPENING)
    for word in ("One ", "two ", "three "):
        await call.write(policy_pb2.ScreenRequest(text=word))
        assert (await call.read()).text == word
    await call.done_writing()
    assert (await call.read()).screened_chars == 14


@pytest.mark.parametrize("card", ["4111 1111 1111 1111", "378282246310005"])
async def test_a_card_split_anywhere_never_gets_out(policy: Any, card: str) -> None:
    text = f"Pay {card} now"
    for first in range(4, len(text) + 1):
        for second in range(first, len(text) + 1, 3):
            chunks = [text[:first], text[first:second], text[second:]]
            answers = await screened(policy, chunks)
            assert "".join(answer.text for answer in answers) == "Pay [payment_card] now"
    answers = await screened(policy, list(text))
    assert "".join(answer.text for answer in answers) == "Pay [payment_card] now"


async def test_a_blocked_stream_says_so_in_every_later_answer_and_lets_nothing_out(
    policy: Any,
) -> None:
    answers = await screened(policy, ["The night", "jar ", "sang ", "all night"])
    assert len(answers) == 5
    assert "".join(answer.text for answer in answers) == "The "
    assert [answer.blocked_by for answer in answers] == ["", *["keywords"] * 4]
    assert {answer.screened_chars for answer in answers} == {4}
    assert sum(len(answer.findings) for answer in answers) == 1


async def test_one_long_message_is_screened_as_any_other(policy: Any) -> None:
    text = "The fox, 12 years old, ran. " * 20_000
    answers = await screened(policy, [text + "ann@x.org"])
    assert "".join(answer.text for answer in answers) == text + "[email]"


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "opening"),
        ([policy_pb2.ScreenRequest(text="a")], "opening"),
        ([policy_pb2.ScreenRequest()], "opening"),
        ([OPENING, OPENING], "text"),
        ([OPENING, policy_pb2.ScreenRequest()], "text"),
        ([OPENING, policy_pb2.ScreenRequest(text="a" * (2**20 + 1))], "text"),
        (
            [policy_pb2.ScreenRequest(opening=policy_pb2.ScreenOpening(request_id="r"))],
            "principal.tenant_id",
        ),
        (
            [policy_pb2.ScreenRequest(opening=policy_pb2.ScreenOpening(principal=PRINCIPAL))],
            "opening.request_id",
        ),
    ],
)
async def test_messages_out_of_order_are_refused(
    policy: Any, refused: Any, messages: list[policy_pb2.ScreenRequest], field: str
) -> None:
    async def sent() -> AsyncIterator[policy_pb2.ScreenRequest]:
        for message in messages:
            yield message

    async def read_all() -> None:
        async for _ in policy.policy.Screen(sent()):
            pass

    assert (await refused(read_all(), InvalidArgument)).field == field
