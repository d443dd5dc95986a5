"""Canaries: what a client sends in confidence shows up nowhere it should not."""

import logging
from typing import Any

import grpc
import psycopg
import pytest
import redis as redis_client

from weir_contracts.common.v1 import chat_pb2
from weir_contracts.policy.v1 import policy_pb2
from weir_kit import telemetry

CARD = "4111111111111111"
EMAIL = "canary.one@secret-place.example"
PROMPT = "the canary said nightjar, " + EMAIL + " " + CARD


async def test_planted_keys_and_prompts_are_nowhere_but_in_their_answer(
    policy: Any, caplog: pytest.LogCaptureFixture, database_url: str, redis_url: str
) -> None:
    caplog.set_level(logging.DEBUG)
    spans: list[Any] = []
    remove = telemetry.add_sink(spans.append)
    errors = []
    _, api_key = await policy.key(requests_per_minute=4)
    secret = api_key[16:]
    message = chat_pb2.ChatMessage(role="user", content=PROMPT)
    questions: list[dict[str, Any]] = [
        {"api_key": api_key, "text": PROMPT},  # blocked
        {"api_key": api_key, "chat": chat_pb2.Chat(messages=[message]), "model": "m"},
        {"api_key": api_key, "texts": policy_pb2.TextList(texts=["a fox", PROMPT])},
        {"api_key": api_key[:-1] + "!", "text": PROMPT},  # no key
        {"api_key": api_key[:-1] + "0", "text": PROMPT},  # a wrong key
        {"api_key": api_key, "text": "mail " + EMAIL},  # redacted
        {"api_key": api_key, "text": PROMPT},  # one too many
        {"api_key": api_key, "text": PROMPT, "request_id": PROMPT},  # bad fields
        {"api_key": api_key, "text": PROMPT, "model": PROMPT + "\n"},
    ]
    for fields in questions:
        request = policy_pb2.AdmitRequest(**{"request_id": "req_1", "model": "m", **fields})
        try:
            answer = await policy.policy.Admit(request)
            assert EMAIL not in str(answer)
        except grpc.aio.AioRpcError as error:
            errors.append(f"{error.details()} {error.trailing_metadata()}")
    remove()
    assert len(errors) == 8
    everywhere = "\n".join([caplog.text, *map(str, spans), *errors])
    for canary in (secret, EMAIL, CARD, "canary"):
        assert canary not in everywhere
    assert secret not in _all_rows(database_url)
    assert secret not in _all_of_redis(redis_url)


def _all_rows(database_url: str) -> str:
    with psycopg.connect(database_url) as connection:
        tables = ("tenants", "projects", "keys", "audit_records")
        return str([connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables])


def _all_of_redis(redis_url: str) -> str:
    with redis_client.Redis.from_url(redis_url) as client:
        return str([(key, client.get(key)) for key in client.scan_iter()])
