"""Admit, through its stub."""

import asyncio
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from weir_contracts.common.v1 import chat_pb2, finding_pb2
from weir_contracts.policy.v1 import policy_pb2
from weir_kit.errors import (
    ContentBlocked,
    InvalidApiKey,
    InvalidArgument,
    ModelNotAllowed,
    RateLimited,
    Unavailable,
)


def question(api_key: str, text: str = "Tell me a tale", **fields: Any) -> policy_pb2.AdmitRequest:
    fields = {"request_id": "req_1", "model": "weir-tales", **fields}
    if not {"chat", "texts"} & set(fields):
        fields["text"] = text
    return policy_pb2.AdmitRequest(api_key=api_key, **fields)


async def test_a_good_key_gets_a_signed_admission(policy: Any) -> None:
    key, api_key = await policy.key()
    answer = await policy.policy.Admit(question(api_key))
    admission = policy.verifier.verify(answer.admission, policy.clock.now_s())
    assert admission.request_id == "req_1"
    assert (admission.tenant_id, admission.project_id) == ("acme", "web")
    assert (admission.key_id, admission.model) == (key.key_id, "weir-tales")
    assert admission.expires_at_s == policy.clock.now_s() + 60
    assert answer.principal == policy_pb2.Principal(
        tenant_id="acme", project_id="web", key_id=key.key_id
    )
    assert answer.rate_limit == policy_pb2.RateLimit()
    assert answer.WhichOneof("redacted") is None


async def test_a_key_alone_can_be_checked_without_counting(policy: Any) -> None:
    _, api_key = await policy.key(requests_per_minute=1, allowed_models=["weir-tales"])
    for _ in range(3):
        answer = await policy.policy.Admit(policy_pb2.AdmitRequest(api_key=api_key))
        assert answer.admission == ""
        assert answer.allowed_models == ["weir-tales"]
    assert (await policy.policy.Admit(question(api_key))).rate_limit.remaining == 0


async def test_every_bad_key_gets_one_and_the_same_answer(policy: Any, refused: Any) -> None:
    soon = Timestamp(seconds=int(policy.clock.now_s()) + 10)
    _, expired = await policy.key(expires_at=soon)
    _, good = await policy.key()
    policy.clock.advance(11)
    wrong_secret = good[:-1] + ("0" if good[-1] != "0" else "1")
    errors = [
        await refused(policy.policy.Admit(question(api_key)), InvalidApiKey)
        for api_key in ("", "sk-other", expired, wrong_secret, "weir_sk_00000000" + "a" * 32)
    ]
    assert len({(error.message, str(error.details)) for error in errors}) == 1


async def test_a_model_outside_of_the_key_s_list_is_refused_and_not_counted(
    policy: Any, refused: Any
) -> None:
    _, api_key = await policy.key(allowed_models=["other"], requests_per_minute=1)
    await refused(policy.policy.Admit(question(api_key)), ModelNotAllowed)
    answer = await policy.policy.Admit(question(api_key, model="other"))
    assert answer.allowed_models == ["other"]


async def test_the_limit_is_kept_whoever_asks_at_once(policy: Any, refused: Any) -> None:
    _, api_key = await policy.key(requests_per_minute=5)
    answers = await asyncio.gather(
        *(policy.policy.Admit(question(api_key)) for _ in range(12)), return_exceptions=True
    )
    passed = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert sorted(answer.rate_limit.remaining for answer in passed) == [0, 1, 2, 3, 4]
    assert {answer.rate_limit.limit for answer in passed} == {5}
    error = await refused(policy.policy.Admit(question(api_key)), RateLimited)
    assert 0 < error.retry_after_s <= 12


async def test_input_is_redacted(policy: Any) -> None:
    _, api_key = await policy.key()
    answer = await policy.policy.Admit(question(api_key, "pay 4111 1111 1111 1111, ann@x.org"))
    assert answer.redacted_text == "pay [payment_card], [email]"
    assert [(f.rule, f.start, f.end) for f in answer.findings] == [
        ("payment_card", 4, 23),
        ("email", 25, 34),
    ]
    assert {f.where for f in answer.findings} == {"input"}
    assert {f.action for f in answer.findings} == {finding_pb2.ACTION_REDACT}


async def test_findings_in_a_chat_count_over_all_messages(policy: Any) -> None:
    _, api_key = await policy.key()
    chat = chat_pb2.Chat(
        messages=[
            chat_pb2.ChatMessage(role="system", content="Be kind 😀"),
            chat_pb2.ChatMessage(role="user", content="I am ann@x.org"),
        ]
    )
    answer = await policy.policy.Admit(question(api_key, chat=chat))
    assert [m.content for m in answer.redacted_chat.messages] == ["Be kind 😀", "I am [email]"]
    assert [m.role for m in answer.redacted_chat.messages] == ["system", "user"]
    joined = "\n".join(message.content for message in chat.messages)
    assert [joined[f.start : f.end] for f in answer.findings] == ["ann@x.org"]


def texts(*of: str) -> policy_pb2.TextList:
    return policy_pb2.TextList(texts=of)


async def test_each_of_several_texts_is_looked_at_on_its_own(policy: Any) -> None:
    _, api_key = await policy.key()
    asked = texts("I am ann@x.org", "", "card 4111 1111", "1111 1111 😀 bob@x.org", "call")
    answer = await policy.policy.Admit(question(api_key, texts=asked))
    assert list(answer.redacted_texts.texts) == [
        *("I am [email]", "", "card 4111 1111", "1111 1111 😀 [email]", "call"),
    ]
    joined = "\n".join(asked.texts)
    assert [joined[f.start : f.end] for f in answer.findings] == ["ann@x.org", "bob@x.org"]
    unchanged = await policy.policy.Admit(question(api_key, texts=texts("a", "b")))
    assert unchanged.admission and unchanged.WhichOneof("redacted") is None


async def test_one_forbidden_text_among_several_blocks_the_request(
    policy: Any, refused: Any
) -> None:
    _, api_key = await policy.key()
    asked = question(api_key, texts=texts("fine", "what is NIGHTJAR?"))
    error = await refused(policy.policy.Admit(asked), ContentBlocked)
    assert error.details == {"rule": "keywords"}


async def test_several_texts_are_one_request_to_the_limit_and_for_an_allowed_model(
    policy: Any, refused: Any
) -> None:
    _, api_key = await policy.key(requests_per_minute=1, allowed_models=["eyes"])
    asked = texts(*["a fox"] * 1024)
    await refused(policy.policy.Admit(question(api_key, texts=asked)), ModelNotAllowed)
    assert (await policy.policy.Admit(question(api_key, texts=asked, model="eyes"))).admission
    again = question(api_key, texts=asked, model="eyes")
    await refused(policy.policy.Admit(again), RateLimited)


async def test_blocked_input_names_the_rule_only(policy: Any, refused: Any) -> None:
    _, api_key = await policy.key()
    error = await refused(
        policy.policy.Admit(question(api_key, "what is NIGHTJAR?")), ContentBlocked
    )
    assert error.details == {"rule": "keywords"}
    assert "nightjar" not in error.message.lower()


async def test_a_long_input_does_not_stop_other_requests(policy: Any) -> None:
    _, api_key = await policy.key()
    text = "In 2026 the fox ran. " * 49_000
    answer = await policy.policy.Admit(question(api_key, text + "ann@x.org"))
    assert answer.redacted_text == text + "[email]"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"request_id": ""}, "request_id"),
        ({"request_id": "a b"}, "request_id"),
        ({"model": "a\x00"}, "model"),
        ({"model": "m" * 257}, "model"),
        ({"text": "a" * (2**20 + 1)}, "text"),
        ({"texts": texts(*["a"] * 1026)}, "texts.texts"),
        ({"texts": texts("a" * 2**19, "a" * 2**19, "a")}, "texts.texts"),
        ({"chat": chat_pb2.Chat()}, "chat.messages"),
        (
            {"chat": chat_pb2.Chat(messages=[chat_pb2.ChatMessage(role="robot")])},
            "chat.messages[0].role",
        ),
    ],
)
async def test_a_wrong_field_is_named(
    policy: Any, refused: Any, fields: dict[str, Any], field: str
) -> None:
    _, api_key = await policy.key()
    call = policy.policy.Admit(question(api_key, **fields))
    assert (await refused(call, InvalidArgument)).field == field


async def test_a_request_without_input_is_refused(policy: Any, refused: Any) -> None:
    _, api_key = await policy.key()
    request = policy_pb2.AdmitRequest(request_id="req_1", api_key=api_key, model="m")
    assert (await refused(policy.policy.Admit(request), InvalidArgument)).field == "input"


async def test_without_redis_limited_keys_are_refused_and_others_served(
    open_policy: Any, refused: Any
) -> None:
    from weir_contracts.policy.v1 import tenant_pb2

    async with open_policy(redis="unix:///nowhere/redis.sock") as policy:
        await policy.tenants.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id="acme"))
        await policy.tenants.CreateProject(
            tenant_pb2.CreateProjectRequest(tenant_id="acme", project_id="web")
        )
        _, limited = await policy.key(requests_per_minute=5)
        _, free = await policy.key()
        error = await refused(policy.policy.Admit(question(limited)), Unavailable)
        assert error.retry_after_s == 1
        assert (await policy.policy.Admit(question(free))).admission
