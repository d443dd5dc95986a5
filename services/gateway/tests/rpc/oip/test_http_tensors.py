"""The Open Inference Protocol over HTTP, byte by byte."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from weir_contracts.common.v1.usage_pb2 import WorkUsage
from weir_kit import telemetry
from weir_kit.errors import Unavailable

SUMS = "/v2/models/group/sums"
FLOATS = struct.pack("<6f", *range(6))
BODY: dict[str, Any] = {
    "id": "mine",
    "inputs": [
        {"name": "IN", "datatype": "FP32", "shape": [3, 2], "data": [[0, 1], [2, 3], [4, 5]]}
    ],
}
TEXT = "Once upon a time."


@pytest.fixture
async def http(gateway: Any) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": "Bearer weir_sk_test"}
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers, verify=False) as client:
        yield client


async def test_the_server_tells_of_itself_without_a_key(http: httpx.AsyncClient) -> None:
    http.headers.pop("authorization")
    assert (await http.get("/v2")).json()["name"] == "weir"
    assert (await http.get("/v2/health/live")).json() == {"live": True}
    assert (await http.get("/v2/health/ready")).json() == {"ready": True}
    for answer in (
        await http.get(SUMS),
        await http.get(f"{SUMS}/ready"),
        await http.post(f"{SUMS}/infer", json=BODY),
        await http.post("/v2/models/tales/generate", json={"text_input": "tell"}),
    ):
        assert answer.status_code == 401
        assert "API key" in answer.json()["error"]


async def test_models_tell_what_they_take_and_whether_they_are_ready(
    http: httpx.AsyncClient,
) -> None:
    told = (await http.get(SUMS)).json()
    assert told["inputs"] == [{"name": "IN", "datatype": "FP32", "shape": [-1, 2]}]
    assert (await http.get(f"{SUMS}/versions/2")).json()["versions"] == ["2"]
    assert (await http.get("/v2/models/tales")).json()["outputs"][0]["name"] == "text_output"
    ready = await http.get(f"{SUMS}/versions/2/ready")
    assert (ready.status_code, ready.json()) == (200, {"name": "group/sums", "ready": True})
    assert (await http.get(f"{SUMS}/versions/7/ready")).status_code == 503
    assert (await http.get("/v2/models/nosuch/ready")).status_code == 503
    assert (await http.get("/v2/models/nosuch")).status_code == 404


async def test_json_tensors_are_answered_as_json(http: httpx.AsyncClient, house: Any) -> None:
    answer = await http.post(f"{SUMS}/infer", json=BODY)
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert (told["model_name"], told["model_version"], told["id"]) == ("group/sums", "2", "mine")
    assert told["outputs"] == [
        {"name": "OUT", "datatype": "FP32", "shape": [3, 2], "data": [0, 1, 2, 3, 4, 5]}
    ]
    assert told["parameters"]["weir_cost_nanos"] == 300
    assert told["parameters"]["weir_request_id"] == answer.headers["x-request-id"]
    assert answer.headers["x-ratelimit-remaining-requests"] == "59"
    assert house.inferred[0].raw_input_contents[0] == FLOATS
    assert house.work == [WorkUsage(requests=1, items=3, compute_us=900)]


async def test_binary_tensors_are_answered_as_binary(http: httpx.AsyncClient, house: Any) -> None:
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "IN",
                    "datatype": "FP32",
                    "shape": [3, 2],
                    "parameters": {"binary_data_size": 24},
                }
            ],
            "outputs": [{"name": "OUT", "parameters": {"binary_data": True}}],
        }
    ).encode()
    answer = await http.post(
        f"{SUMS}/versions/2/infer",
        content=head + FLOATS,
        headers={"inference-header-content-length": str(len(head))},
    )
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    [output] = json.loads(answer.content[:length])["outputs"]
    assert output["parameters"] == {"binary_data_size": 24} and "data" not in output
    assert answer.content[length:] == FLOATS
    assert house.inferred[0].model_version == "2"


async def test_what_is_wrong_is_a_text_that_names_the_field(http: httpx.AsyncClient) -> None:
    wrong = {"inputs": [{**BODY["inputs"][0], "shape": [2, 2]}]}
    answer = await http.post(f"{SUMS}/infer", json=wrong)
    assert answer.status_code == 400
    error = answer.json()
    assert (error["code"], error["field"]) == ("INVALID_ARGUMENT", "inputs[0].data")
    assert "shape [2, 2]" in error["error"]
    for method, path, status in (("GET", "/v2/nothing", 404), ("PUT", SUMS, 405)):
        answer = await http.request(method, path)
        assert answer.status_code == status and isinstance(answer.json()["error"], str)


async def test_a_body_over_sixteen_mebibytes_is_413(http: httpx.AsyncClient, house: Any) -> None:
    answer = await http.post(f"{SUMS}/infer", content=b" " * ((16 << 20) + 1))
    assert answer.status_code == 413
    assert "16777216 bytes" in answer.json()["error"]
    assert house.admitted == []


async def test_tensors_that_grow_too_large_are_refused_and_free(
    http: httpx.AsyncClient, house: Any
) -> None:
    """In JSON an FP64 may have two characters, in the message it has eight bytes."""
    n = (16 << 20) // 8
    data = f"[{','.join(['0'] * n)}]"
    content = f'{{"inputs":[{{"name":"IN","datatype":"FP64","shape":[{n}],"data":{data}}}]}}'
    answer = await http.post(f"{SUMS}/infer", content=content, timeout=30)
    assert answer.status_code == 400 and "at most 16777216" in answer.json()["error"]
    await house.until(lambda: house.released and house.records)
    assert house.inferred == []


async def test_a_client_that_goes_pays_nothing(http: httpx.AsyncClient, house: Any) -> None:
    house.predict_at = asyncio.Event()
    asking = asyncio.create_task(http.post(f"{SUMS}/infer", json=BODY))
    await house.until(lambda: house.predicting)
    asking.cancel()
    await house.until(lambda: not house.predicting and house.released and house.records)
    assert house.records[0].outcome == "disconnected" and house.work == []


async def test_text_is_generated_whole(http: httpx.AsyncClient, house: Any) -> None:
    body = {"text_input": "tell", "id": "c", "parameters": {"max_tokens": 4, "temperature": 0}}
    told = (await http.post("/v2/models/tales/generate", json=body)).json()
    assert (told["model_name"], told["id"], told["text_output"]) == ("tales", "c", "tellOnce")
    assert (told["finish_reason"], told["usage"]["completion_tokens"]) == ("length", 4)
    assert told["weir"]["cost_nanos"] == 8
    body = {"text_input": "tell", "parameters": {"exclude_input_in_output": True}}
    told = (await http.post("/v2/models/tales/versions/generate", json=body)).json()
    assert "error" in told  # a version must be named
    told = (await http.post("/v2/models/tales/generate", json=body)).json()
    assert told["text_output"] == TEXT
    assert house.generated[0].sampling.temperature == 0


async def test_text_is_generated_as_events(http: httpx.AsyncClient, house: Any) -> None:
    house.text = "mail me@home"
    body = {"text_input": "tell", "stream": True}
    answer = await http.post("/v2/models/tales/generate_stream", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [
        json.loads(event.removeprefix("data: ")) for event in answer.text.split("\n\n") if event
    ]
    assert "".join(event["text_output"] for event in events) == "mail me*home"
    assert events[-1]["weir"]["cost_nanos"] == 16
    assert {event["model_name"] for event in events} == {"tales"} and len(events) > 2


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("tales/generate", {}, "text_input"),
        ("tales/generate", {"text_input": "a", "stream": True}, "stream"),
        ("tales/generate_stream", {"text_input": "a", "stream": False}, "stream"),
        ("tales/generate", {"text_input": "a", "parameters": [1]}, "parameters"),
        (
            "tales/generate",
            {"text_input": "a", "parameters": {"text_input": "b"}},
            "parameters.text_input",
        ),
        ("tales/generate", {"text_input": "a", "parameters": {"top_p": 7}}, "top_p"),
        ("tales/generate", {"text_input": "a", "beams": 3}, "beams"),
        ("moods/generate", {"text_input": "a"}, "model_name"),
        ("nosuch/generate", {"text_input": "a"}, "model_name"),
    ],
)
async def test_what_is_wrong_about_text_is_named(
    http: httpx.AsyncClient, house: Any, path: str, body: dict[str, Any], field: str
) -> None:
    answer = await http.post(f"/v2/models/{path}", json=body)
    assert answer.status_code in (400, 404)
    assert answer.json()["field"] == field
    assert house.reserved == []


async def test_an_error_after_a_stream_began_is_its_last_event(
    http: httpx.AsyncClient, house: Any
) -> None:
    house.fail_at, house.errors["token"] = 6, Unavailable("away")
    body = {"text_input": "tell"}
    answer = await http.post("/v2/models/tales/generate_stream", json=body)
    last = json.loads(answer.text.split("\n\n")[-2].removeprefix("data: "))
    assert answer.status_code == 200 and last["code"] == "UNAVAILABLE"


async def test_a_request_is_one_trace_without_content(http: httpx.AsyncClient, house: Any) -> None:
    answer = await http.post(f"{SUMS}/infer", json=BODY)
    await house.until(lambda: house.records)
    spans = telemetry.ring.of_request(answer.headers["x-request-id"])
    names = {span.name for span in spans}
    assert {"predict", "inference.GRPCInferenceService/ModelInfer"} <= names
    assert {span.trace_id for span in spans} == {house.records[0].trace_id}
