"""The TokenizerService through a channel, as its callers see it."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from weir_contracts.common.v1 import chat_pb2
from weir_contracts.tokenizer.v1 import tokenizer_pb2 as pb
from weir_contracts.tokenizer.v1 import tokenizer_pb2_grpc
from weir_kit.errors import InvalidArgument, ModelNotFound, WeirError
from weir_kit.local import local_channel
from weir_kit.status import raising_weir_errors
from weir_tokenizer.config import Config, ModelSource
from weir_tokenizer.core import limits
from weir_tokenizer.service import open_service

if TYPE_CHECKING:
    Stub = tokenizer_pb2_grpc.TokenizerServiceAsyncStub


class NoPeers:
    """It calls no other service."""

    def channel(self, service: str) -> grpc.aio.Channel:
        raise AssertionError(service)


@pytest.fixture
async def stub(folders: dict[str, Path]) -> AsyncIterator["Stub"]:
    config = Config(tuple(ModelSource(kind, str(folder)) for kind, folder in folders.items()))
    async with (
        open_service(config, NoPeers()) as service,
        local_channel(*service.servicers) as channel,
    ):
        yield tokenizer_pb2_grpc.TokenizerServiceStub(channel)


def texts(*several: str) -> pb.Texts:
    return pb.Texts(texts=several)


def chat(*contents: str, role: str = "user") -> chat_pb2.Chat:
    return chat_pb2.Chat(messages=[chat_pb2.ChatMessage(role=role, content=c) for c in contents])


def tokens(*ids: int) -> pb.DecodeStreamRequest:
    return pb.DecodeStreamRequest(tokens=pb.TokenIds(ids=ids))


def options(name: str = "byte-level", stop: Sequence[str] = ()) -> pb.DecodeStreamRequest:
    return pb.DecodeStreamRequest(options=pb.DecodeStreamOptions(tokenizer=name, stop=stop))


async def stream(stub: "Stub", *requests: pb.DecodeStreamRequest) -> list[pb.DecodeStreamResponse]:
    async def sent() -> AsyncIterator[pb.DecodeStreamRequest]:
        for request in requests:
            yield request

    return [response async for response in stub.DecodeStream(sent())]


async def ids_of(stub: "Stub", text: str) -> list[int]:
    request = pb.EncodeRequest(tokenizer="byte-level", texts=texts(text), skip_special_tokens=True)
    return list((await stub.Encode(request)).sequences[0].ids)


async def test_a_batch_is_encoded_and_comes_back(stub: "Stub") -> None:
    request = pb.EncodeRequest(tokenizer="byte-level", texts=texts("the weir", "", "你好"))
    encoded = await stub.Encode(request)
    decoded = await stub.Decode(
        pb.DecodeRequest(tokenizer="byte-level", sequences=encoded.sequences)
    )
    assert list(decoded.texts) == ["the weir", "", "你好"]


async def test_special_tokens_are_kept_on_request(stub: "Stub") -> None:
    encoded = await stub.Encode(pb.EncodeRequest(tokenizer="byte-level", texts=texts("weir")))
    request = pb.DecodeRequest(
        tokenizer="byte-level", sequences=encoded.sequences, keep_special_tokens=True
    )
    assert list((await stub.Decode(request)).texts) == ["<s>weir"]


async def test_unknown_ids_are_passed_over_on_request(stub: "Stub") -> None:
    request = decode([99_999], [*await ids_of(stub, "weir"), 99_999, 2**32 - 1])
    request.skip_unknown_ids = True
    assert list((await stub.Decode(request)).texts) == ["", "weir"]


async def test_a_conversation_is_one_sequence_with_or_without_the_opening(stub: "Stub") -> None:
    request = pb.EncodeRequest(tokenizer="byte-level", chat=chat("hi"))
    [opened] = (await stub.Encode(request)).sequences
    request.skip_generation_prompt = True
    [closed] = (await stub.Encode(request)).sequences
    assert list(opened.ids[: len(closed.ids)]) == list(closed.ids)
    assert len(opened.ids) > len(closed.ids)


async def test_counts_are_those_of_encode(stub: "Stub") -> None:
    for given in ({"texts": texts("the weir", "")}, {"chat": chat("hi", "there")}):
        encoded = await stub.Encode(pb.EncodeRequest(tokenizer="byte-level", **given))
        counted = await stub.CountTokens(pb.CountTokensRequest(tokenizer="byte-level", **given))
        assert list(counted.counts) == [len(sequence.ids) for sequence in encoded.sequences]


async def test_large_texts_are_encoded_in_a_thread_to_the_same_ids(stub: "Stub") -> None:
    small = await ids_of(stub, "the weir\n")
    large = await ids_of(stub, "the weir\n" * 20_000)
    assert large == small * 20_000


async def test_every_message_of_ids_has_one_answer_and_the_end_has_one(stub: "Stub") -> None:
    ids = await ids_of(stub, "the 🌊")
    answers = await stream(stub, options(), *(tokens(one) for one in ids), tokens(), tokens())
    assert len(answers) == len(ids) + 3
    assert "".join(answer.text for answer in answers) == "the 🌊"
    assert answers[-1].decoded_tokens == len(ids)
    assert {answer.stop for answer in answers} == {""}


async def test_a_stream_answers_before_the_next_ids_come(stub: "Stub") -> None:
    ids = await ids_of(stub, "abc")
    call = stub.DecodeStream()
    await call.write(options())
    for token_id in ids:
        await call.write(tokens(token_id))
        assert (await call.read()).text
    await call.done_writing()
    assert (await call.read()).text == ""
    assert await call.read() is grpc.aio.EOF


async def test_a_stop_string_over_token_boundaries_ends_the_text(stub: "Stub") -> None:
    ids = await ids_of(stub, "xyzab")
    answers = await stream(stub, options(stop=["zz", "yza"]), *(tokens(one) for one in ids))
    assert "".join(answer.text for answer in answers) == "x"
    assert answers[-1].stop == "yza"
    assert answers[-1].decoded_tokens == 1


async def test_a_stream_without_ids_has_one_empty_answer(stub: "Stub") -> None:
    assert await stream(stub, options()) == [pb.DecodeStreamResponse()]


async def test_a_prompts_tail_is_context(stub: "Stub") -> None:
    request = pb.EncodeRequest(
        tokenizer="byte-fallback", texts=texts("the", "weir"), skip_special_tokens=True
    )
    before, after = (await stub.Encode(request)).sequences
    opening = options("byte-fallback")
    assert (await stream(stub, opening, tokens(*after.ids)))[0].text == "weir"
    opening.options.prompt_tail.CopyFrom(before)
    assert (await stream(stub, opening, tokens(*after.ids)))[0].text == " weir"


async def test_tokenizers_are_listed_by_name(stub: "Stub") -> None:
    listed = (await stub.ListTokenizers(pb.ListTokenizersRequest())).tokenizers
    assert [one.name for one in listed] == sorted(one.name for one in listed)
    assert listed[1].name == "byte-level"
    assert listed[1].has_chat_template
    assert listed[1].vocab_size > 256


def encode(**fields: object) -> pb.EncodeRequest:
    return pb.EncodeRequest(**{"tokenizer": "byte-level", **fields})  # type: ignore[arg-type]


def decode(*sequences: Sequence[int]) -> pb.DecodeRequest:
    return pb.DecodeRequest(
        tokenizer="byte-level", sequences=[pb.TokenIds(ids=ids) for ids in sequences]
    )


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (encode(), "input"),
        (encode(texts=texts()), "texts.texts"),
        (encode(texts=texts(*["a"] * (limits.TEXTS_MAX + 1))), "texts.texts"),
        (encode(texts=texts("é" * (limits.TEXT_BYTES_MAX // 2 + 1))), "texts.texts"),
        (encode(chat=chat()), "chat.messages"),
        (encode(chat=chat(*["a"] * (limits.MESSAGES_MAX + 1))), "chat.messages"),
        (encode(chat=chat("é" * (limits.TEXT_BYTES_MAX // 2 + 1))), "chat.messages"),
        (encode(chat=chat("a", role="tool")), "chat.messages[0].role"),
        (encode(tokenizer=""), "tokenizer"),
        (decode(), "sequences"),
        (decode(*[[1]] * (limits.SEQUENCES_MAX + 1)), "sequences"),
        (decode([1] * (limits.IDS_MAX + 1)), "sequences"),
        (decode([1], [1, 2, 99_999]), "sequences[1].ids[2]"),
    ],
)
async def test_a_wrong_field_is_named(
    stub: "Stub", request_: pb.EncodeRequest | pb.DecodeRequest, field: str
) -> None:
    error = await refusal(
        stub.Encode if isinstance(request_, pb.EncodeRequest) else stub.Decode, request_
    )
    assert isinstance(error, InvalidArgument)
    assert error.field == field


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ([], "options"),
        ([tokens(1)], "options"),
        ([options(), options()], "tokens"),
        ([options(), pb.DecodeStreamRequest()], "tokens"),
        ([options(), tokens(1, 99_999)], "tokens.ids[1]"),
        ([options(stop=["a"] * (limits.STOPS_MAX + 1))], "options.stop"),
        ([options(stop=["a", ""])], "options.stop[1]"),
        ([options(stop=["a" * (limits.STOP_CHARACTERS_MAX + 1)])], "options.stop[0]"),
    ],
)
async def test_a_wrong_field_of_a_stream_is_named(
    stub: "Stub", requests: list[pb.DecodeStreamRequest], field: str
) -> None:
    with pytest.raises(InvalidArgument) as raised, raising_weir_errors():
        await stream(stub, *requests)
    assert raised.value.field == field


async def test_an_unknown_tokenizer_is_an_unknown_model(stub: "Stub") -> None:
    assert isinstance(await refusal(stub.Encode, encode(tokenizer="gpt-9")), ModelNotFound)
    with pytest.raises(ModelNotFound), raising_weir_errors():
        await stream(stub, options("gpt-9"))


async def refusal(call: object, request: object) -> WeirError:
    """The error that a call ends with."""
    with pytest.raises(WeirError) as raised, raising_weir_errors():
        await call(request)  # type: ignore[operator]
    return raised.value
