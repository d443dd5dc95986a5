"""The HTTP API byte by byte: headers, errors, disconnects, deadlines, probes, spans."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from weir_kit import telemetry
from weir_kit.errors import Unavailable

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": "tales", "messages": [{"role": "user", "content": "tell"}]}
TEXT = "Once upon a time."


@pytest.fixture
async def http(gateway: Any) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": "Bearer weir_sk_test"}
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers, verify=False) as client:
        yield client


async def test_every_answer_has_a_request_id_and_the_rate_limit(http: httpx.AsyncClient) -> None:
    whole = await http.post(CHAT, json=BODY)
    streamed = await http.post(CHAT, json={**BODY, "stream": True})
    for answer in (whole, streamed):
        assert answer.headers["x-request-id"].startswith("req_")
        assert answer.headers["x-ratelimit-limit-requests"] == "60"
        assert answer.headers["x-ratelimit-remaining-requests"] == "59"
        assert answer.headers["x-ratelimit-reset-requests"] == "1.000s"
    assert whole.json()["id"] == whole.headers["x-request-id"]
    assert whole.headers["x-request-id"] != streamed.headers["x-request-id"]


async def test_a_stream_is_server_sent_events_ended_by_done(http: httpx.AsyncClient) -> None:
    answer = await http.post(CHAT, json={**BODY, "stream": True})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(event.startswith("data: ") for event in events[:-1])
    last = json.loads(events[-3].removeprefix("data: "))
    assert last["weir"]["cost_nanos"] == 21 and last["weir"]["currency"] == "USD"


async def test_a_missing_key_is_401_whatever_the_body(http: httpx.AsyncClient, house: Any) -> None:
    for authorization in ("", "Basic abc", "Bearer", "Bearer " + "x" * 300):
        headers = {"authorization": authorization}
        answer = await http.post(CHAT, content=b"{", headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
    assert (await http.get("/v1/models", headers={"authorization": ""})).status_code == 401
    assert house.encoded == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"a": NaN}', b"[" * 100_000])
async def test_what_is_no_json_object_is_400(http: httpx.AsyncClient, body: bytes) -> None:
    answer = await http.post(CHAT, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_body_over_a_mebibyte_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.post(CHAT, content=b" " * ((1 << 20) + 1))
    assert answer.status_code == 413
    assert "1048576 bytes" in answer.json()["error"]["message"]


async def test_a_compressed_body_is_refused_as_such(http: httpx.AsyncClient) -> None:
    answer = await http.post(CHAT, content=b"\x1f\x8b", headers={"content-encoding": "gzip"})
    assert answer.status_code == 400
    assert "content-encoding" in answer.json()["error"]["message"]


async def test_half_a_surrogate_pair_is_refused(http: httpx.AsyncClient) -> None:
    raw = json.dumps({**BODY, "messages": [{"role": "user", "content": "\ud83d"}]})
    answer = await http.post(CHAT, content=raw)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "messages[0].content[0]"


async def test_paths_and_methods_that_are_not_there_have_openai_s_shape(
    http: httpx.AsyncClient,
) -> None:
    for method, path, status in (("GET", "/v1/nothing", 404), ("GET", CHAT, 405)):
        answer = await http.request(method, path)
        assert answer.status_code == status
        assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_disconnects_frees_the_engine_and_pays_what_it_got(
    http: httpx.AsyncClient, house: Any, stream: bool
) -> None:
    house.hold_at = 6
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(_read_until(http, stream, "Once u"))
        await house.until(lambda: house.engines == 1)
        if stream:
            text = await reading
        else:
            reading.cancel()
            text = ""
    began = asyncio.get_running_loop().time()
    await house.until(lambda: house.engines == 0 and house.settled and house.records)
    assert asyncio.get_running_loop().time() - began < 0.5
    [usage], [record] = house.settled, house.records
    assert (usage.input_tokens, usage.output_tokens) == (4, len(text))
    assert record.outcome == "disconnected"
    assert record.charged.nanos == 4 + len(text)
    assert house.released == []
    spans = telemetry.ring.of_request(record.request_id)
    [root] = [span for span in spans if not span.parent_span_id]
    assert root.status == "CANCELLED"
    assert root.attributes["http.response.status_code"] == (200 if stream else 499)


async def _read_until(http: httpx.AsyncClient, stream: bool, wanted: str) -> str:
    """Read a stream until the text is there, then close the connection."""
    text = ""
    async with http.stream("POST", CHAT, json={**BODY, "stream": stream}) as answer:
        async for line in answer.aiter_lines():
            if line:
                chunk = json.loads(line.removeprefix("data: "))
                text += chunk["choices"][0]["delta"].get("content", "")
            if text == wanted:
                break
    return text


@pytest.mark.parametrize("stream", [True, False])
async def test_past_the_deadline_a_request_is_504(
    house: Any, peers: Any, open_gateway: Any, stream: bool
) -> None:
    house.hold_at = 0
    headers = {"authorization": "Bearer weir_sk_test"}
    async with (
        open_gateway(peers, timeout_s=0.2) as gateway,
        httpx.AsyncClient(base_url=gateway.url, headers=headers, verify=False) as http,
    ):
        answer = await http.post(CHAT, json={**BODY, "stream": stream})
        if stream:  # it has begun, so the status is sent
            error = json.loads(answer.text.split("\n\n")[-2].removeprefix("data: "))["error"]
        else:
            assert answer.status_code == 504
            error = answer.json()["error"]
        assert error["code"] == "timeout"
        await house.until(lambda: house.engines == 0 and house.released and house.records)
    assert house.settled == []
    assert house.records[0].outcome == "DEADLINE_EXCEEDED"
    assert house.reserved[0].ttl_s == 31


async def test_shutting_down_waits_for_what_is_settled(
    house: Any, peers: Any, open_gateway: Any
) -> None:
    house.hold_at = 6
    headers = {"authorization": "Bearer weir_sk_test"}
    async with (
        open_gateway(peers) as gateway,
        httpx.AsyncClient(base_url=gateway.url, headers=headers, verify=False) as http,
    ):
        await _read_until(http, True, "Once u")
    assert len(house.settled) == 1 and len(house.records) == 1


async def test_probes_need_no_key_and_tell_which_peer_is_away(
    http: httpx.AsyncClient, gateway: Any
) -> None:
    http.headers.pop("authorization")
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    ready = await http.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["peers"] == dict.fromkeys(
        ("policy", "tokenizer", "inference", "billing"), True
    )


async def test_a_request_is_one_trace_under_the_caller_s_span(
    http: httpx.AsyncClient, house: Any
) -> None:
    trace_id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    answer = await http.post(CHAT, json=BODY, headers={"traceparent": f"00-{trace_id}-{parent}-01"})
    await house.until(lambda: house.records)
    assert house.records[0].trace_id == trace_id
    root, spans = await _spans(answer, parent)
    assert (root.service, root.name, root.kind) == ("gateway", f"POST {CHAT}", "server")
    assert root.attributes["gen_ai.request.model"] == "tales"
    assert root.attributes["gen_ai.usage.output_tokens"] == 17
    assert root.attributes["http.response.status_code"] == 200
    called = {span.name for span in spans if span.parent_span_id == root.span_id}
    assert called >= {
        "weir.policy.v1.PolicyService/Admit",
        "weir.tokenizer.v1.TokenizerService/Encode",
        "weir.billing.v1.BillingService/Reserve",
        "weir.inference.v1.InferenceService/Generate",
        "weir.tokenizer.v1.TokenizerService/DecodeStream",
        "weir.policy.v1.PolicyService/Screen",
        "weir.billing.v1.BillingService/Settle",
        "weir.policy.v1.PolicyService/Record",
    }
    assert {span.trace_id for span in spans} == {trace_id}
    assert "tell" not in repr(spans) and TEXT not in repr(spans) and "weir_sk" not in repr(spans)
    assert {span.status for span in spans} == {"OK"}


async def test_a_fault_of_ours_is_500_and_says_nothing_of_the_inside(
    http: httpx.AsyncClient, house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(self: Any, request_id: str) -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setattr("weir_gateway.core.running.Running.enter", fault)
    answer = await http.post(CHAT, json=BODY)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"]


async def _spans(answer: httpx.Response, parent: str) -> tuple[Any, list[Any]]:
    """The request's span and its trace, when it has ended: a moment after the answer was read."""
    async with asyncio.timeout(5):
        while True:
            spans = telemetry.ring.of_request(answer.headers["x-request-id"])
            for span in spans:
                if span.parent_span_id == parent and span.service == "gateway":
                    return span, spans
            await asyncio.sleep(0)


async def test_a_failed_request_s_span_says_why(http: httpx.AsyncClient, house: Any) -> None:
    house.errors["Reserve"] = Unavailable("away")
    answer = await http.post(CHAT, json=BODY)
    root, _ = await _spans(answer, "")
    assert root.status == "UNAVAILABLE"
    assert root.attributes["error.type"] == "UNAVAILABLE"
    await house.until(lambda: house.released)
