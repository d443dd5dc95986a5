"""The endpoints of models that answer in one piece, over HTTP."""

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from weir_contracts.common.v1.usage_pb2 import WorkUsage
from weir_kit import telemetry
from weir_kit.errors import QueueFull

JPEG = b"\xff\xd8\xff\xe0 not really \r\n a picture \n"
BASE64 = base64.b64encode(JPEG).decode()
BOX = {"x_min": 1, "y_min": 2, "x_max": 3, "y_max": 4}


@pytest.fixture
async def http(gateway: Any) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": "Bearer weir_sk_test"}
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers, verify=False) as client:
        yield client


@pytest.fixture
async def sdk(gateway: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{gateway.url}/v1", api_key="weir_sk_test", max_retries=0
    ) as client:
        yield client


async def test_openai_s_sdk_gets_embeddings_in_either_encoding(
    sdk: openai.AsyncOpenAI, house: Any
) -> None:
    plain = await sdk.embeddings.create(model="vectors", input=["a", "b"], dimensions=3)
    assert [one.embedding for one in plain.data] == [[0.5, -0.25, 0.0], [0.5, -0.25, 1.0]]
    assert [one.index for one in plain.data] == [0, 1]
    assert (plain.object, plain.model, plain.usage.total_tokens) == ("list", "vectors", 0)
    assert house.predicted[0].options.dimensions == 3
    one = await sdk.embeddings.create(model="vectors", input="a", encoding_format="float")
    assert one.data[0].embedding == [0.5, -0.25, 0.0]


async def test_base64_is_little_endian_fp32(http: httpx.AsyncClient) -> None:
    body = {"model": "vectors", "input": "a", "encoding_format": "base64"}
    told = (await http.post("/v1/embeddings", json=body)).json()
    raw = base64.b64decode(told["data"][0]["embedding"])
    assert struct.unpack("<3f", raw) == (0.5, -0.25, 0.0)


async def test_each_answer_says_what_it_took_and_cost(http: httpx.AsyncClient, house: Any) -> None:
    answer = await http.post("/v1/embeddings", json={"model": "vectors", "input": ["a", "b"]})
    told = answer.json()
    assert told["id"] == told["weir"]["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["x-ratelimit-remaining-requests"] == "59"
    usage = told["usage"]
    assert (usage["requests"], usage["items"], usage["compute_us"]) == (1, 2, 700)
    assert (told["weir"]["cost_nanos"], told["version"]) == (200, "2")
    assert house.work == [WorkUsage(requests=1, items=2, compute_us=700)]


async def test_documents_are_ranked_the_best_first(http: httpx.AsyncClient, house: Any) -> None:
    house.redact_texts = True
    body = {
        "model": "ranks",
        "query": "what?",
        "documents": ["a", {"text": "b"}, "me@home"],
        "top_n": 2,
        "return_documents": True,
    }
    told = (await http.post("/v1/rerank", json=body)).json()
    assert told["results"] == [
        {"index": 2, "relevance_score": 2.0, "document": {"text": "me*home"}},
        {"index": 1, "relevance_score": 1.0, "document": {"text": "b"}},
    ]
    assert told["usage"] == {"requests": 1, "items": 3, "compute_us": 700}
    assert [*house.admitted[0].texts.texts] == ["what?", "a", "b", "me@home"]
    assert told["weir"]["findings"][0]["rule"] == "at"
    bare = {**body, "return_documents": False, "top_n": None}
    told = (await http.post("/v1/rerank", json=bare)).json()
    assert [one["index"] for one in told["results"]] == [2, 1, 0]
    assert "document" not in told["results"][0]


async def test_texts_are_classified(http: httpx.AsyncClient, house: Any) -> None:
    body = {"model": "moods", "input": ["a", "b"], "top_k": 1, "min_score": 0.5, "version": "prod"}
    told = (await http.post("/v1/classify", json=body)).json()
    classes = [{"label": "good", "score": 0.75}]
    assert told["data"] == [{"index": n, "classes": classes} for n in (0, 1)]
    [request] = house.predicted
    assert (request.version, request.options.top_k, request.options.min_score) == ("prod", 1, 0.5)
    told = (await http.post("/v1/classify", json={"model": "names", "input": "a"})).json()
    assert told["data"][0]["spans"] == [{"start": 0, "end": 2, "label": "name", "score": 0.5}]


@pytest.mark.parametrize(
    "pictures",
    [
        {"image": BASE64},
        {"images": [BASE64]},
        {"image": f"data:image/jpeg;base64,{BASE64}"},
    ],
)
async def test_pictures_come_in_base64_or_as_data_urls(
    http: httpx.AsyncClient, house: Any, pictures: dict[str, Any]
) -> None:
    told = (await http.post("/v1/classify", json={"model": "animals", **pictures})).json()
    assert told["data"][0]["classes"][0]["label"] == "good"
    assert [*house.predicted[0].input.pictures.pictures] == [JPEG]


async def test_pictures_come_as_files_of_a_form(http: httpx.AsyncClient, house: Any) -> None:
    every_byte = bytes(range(256)) * 2
    files = [("images", ("a.jpg", JPEG, "image/jpeg")), ("images", ("b.jpg", every_byte))]
    form = {"model": "things", "min_score": "0.5"}
    told = (await http.post("/v1/detect", data=form, files=files)).json()
    assert len(told["data"]) == 2
    [request] = house.predicted
    assert [*request.input.pictures.pictures] == [JPEG, every_byte]
    assert request.options.min_score == 0.5
    one = [("image", ("a.jpg", JPEG))]
    assert (await http.post("/v1/ocr", data={"model": "letters"}, files=one)).status_code == 200


async def test_things_and_letters_are_found(http: httpx.AsyncClient) -> None:
    told = (await http.post("/v1/detect", json={"model": "things", "image": BASE64})).json()
    [found] = told["data"]
    assert (found["width"], found["height"]) == (8, 6)
    assert found["boxes"] == [{**BOX, "label": "cat", "score": 0.5}]
    told = (await http.post("/v1/ocr", json={"model": "letters", "image": BASE64})).json()
    assert told["data"][0]["lines"] == [{"text": "EXIT", "turned": 180, **BOX, "score": 0.5}]


async def test_films_are_recommended(http: httpx.AsyncClient, house: Any) -> None:
    users: list[Any] = [{"history": ["m0"], "excluded": ["m9"]}, {}]
    told = (
        await http.post("/v1/recommend", json={"model": "films", "users": users, "top_k": 5})
    ).json()
    item = {"id": "m1", "title": "Solaris", "score": 2.0, "because": ["m0"]}
    assert told["data"] == [{"index": n, "items": [item]} for n in (0, 1)]
    [request] = house.predicted
    first, second = request.input.users.users
    assert ([*first.history], [*first.excluded], [*second.history]) == (["m0"], ["m9"], [])
    assert request.options.top_k == 5


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("embeddings", {"model": "vectors"}, "input"),
        ("embeddings", {"model": "vectors", "input": [1, 2]}, "input"),
        ("embeddings", {"model": "vectors", "input": [[1, 2]]}, "input"),
        ("embeddings", {"model": "vectors", "input": ["a", {}]}, "input[1]"),
        ("embeddings", {"model": "vectors", "input": ""}, "input"),
        ("embeddings", {"model": "vectors", "input": ["a", ""]}, "input[1]"),
        ("embeddings", {"model": "vectors", "input": ["\ud83d"]}, "input[0]"),
        ("embeddings", {"model": "vectors", "input": ["a"] * 1025}, "input"),
        ("embeddings", {"model": "vectors", "input": "a", "dimensions": 0}, "dimensions"),
        ("embeddings", {"input": "a", "encoding_format": "x"}, "encoding_format"),
        ("embeddings", {"model": "vectors", "input": "a", "extra": 1}, "extra"),
        ("embeddings", {"model": "moods", "input": "a"}, "model"),
        ("embeddings", {"model": "tales", "input": "a"}, "model"),
        ("embeddings", {"input": "a"}, "model"),
        ("rerank", {"model": "ranks", "documents": ["a"]}, "query"),
        ("rerank", {"model": "ranks", "query": "a", "documents": "a"}, "documents"),
        ("rerank", {"model": "ranks", "query": "a", "documents": ["a", 1]}, "documents[1]"),
        ("rerank", {"model": "ranks", "query": "a", "documents": []}, "documents"),
        ("rerank", {"model": "ranks", "query": "a", "documents": ["a"], "top_n": 0}, "top_n"),
        ("classify", {"model": "moods", "input": "a", "image": BASE64}, "input"),
        ("classify", {"model": "moods", "input": "a", "min_score": "x"}, "min_score"),
        ("classify", {"model": "animals", "input": "a"}, "model"),
        ("detect", {"model": "things"}, "image"),
        ("detect", {"model": "things", "image": BASE64, "images": [BASE64]}, "image"),
        ("detect", {"model": "things", "image": "https://example.org/a.jpg"}, "image"),
        ("detect", {"model": "things", "images": [BASE64, "file:///etc/x"]}, "images[1]"),
        ("detect", {"model": "things", "image": "data:image/jpeg,abc"}, "image"),
        ("detect", {"model": "things", "image": "?"}, "image"),
        ("detect", {"model": "things", "image": ""}, "image"),
        ("detect", {"model": "things", "images": [BASE64, 7]}, "images[1]"),
        ("ocr", {"model": "things", "image": BASE64}, "model"),
        ("recommend", {"model": "films", "users": {}}, "users"),
        ("recommend", {"model": "films", "users": []}, "users"),
        ("recommend", {"model": "films", "users": [{"history": "m"}]}, "users[0].history"),
        ("recommend", {"model": "films", "users": [{"age": 3}]}, "users[0].age"),
    ],
)
async def test_a_wrong_field_is_named_in_openai_s_shape_and_free(
    http: httpx.AsyncClient, house: Any, path: str, body: dict[str, Any], param: str
) -> None:
    answer = await http.post(f"/v1/{path}", content=json.dumps(body))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert param in error["message"]
    assert house.reserved == house.predicted == []


async def test_a_broken_form_is_refused(http: httpx.AsyncClient) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    nameless = b"--x\r\ncontent-disposition: form-data\r\n\r\na\r\n--x--\r\n"
    for content in (b"", b"--x", b"--y\r\n\r\n", nameless, bytes(range(256))):
        answer = await http.post("/v1/detect", content=content, headers=headers)
        assert answer.status_code == 400, content
    twice = b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\na\r\n' * 2 + b"--x--\r\n"
    answer = await http.post("/v1/detect", content=twice, headers=headers)
    assert answer.json()["error"]["param"] == "model"


async def test_a_missing_key_is_401_and_a_large_body_413(http: httpx.AsyncClient) -> None:
    large = b" " * ((16 << 20) + 1)
    assert (await http.post("/v1/classify", content=large)).status_code == 413
    headers = {"authorization": ""}
    for path in ("embeddings", "rerank", "classify", "detect", "ocr", "recommend"):
        assert (await http.post(f"/v1/{path}", content=b"{", headers=headers)).status_code == 401


async def test_what_failed_is_free_and_may_be_tried_again(
    http: httpx.AsyncClient, house: Any
) -> None:
    house.errors["Predict"] = QueueFull("full", retry_after_s=2.0)
    answer = await http.post("/v1/classify", json={"model": "moods", "input": "a"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    await house.until(lambda: house.released and house.records)
    assert house.work == [] and house.records[0].outcome == "QUEUE_FULL"


async def test_a_client_that_goes_pays_nothing(http: httpx.AsyncClient, house: Any) -> None:
    house.predict_at = asyncio.Event()
    body = {"model": "moods", "input": "a"}
    asking = asyncio.create_task(http.post("/v1/classify", json=body))
    await house.until(lambda: house.predicting)
    asking.cancel()
    await house.until(lambda: not house.predicting and house.released and house.records)
    assert house.records[0].outcome == "disconnected" and house.work == []


async def test_past_the_deadline_a_prediction_is_504_and_free(
    house: Any, peers: Any, open_gateway: Any
) -> None:
    house.predict_at = asyncio.Event()
    headers = {"authorization": "Bearer weir_sk_test"}
    async with (
        open_gateway(peers, timeout_s=0.2) as gateway,
        httpx.AsyncClient(base_url=gateway.url, headers=headers, verify=False) as http,
    ):
        answer = await http.post("/v1/classify", json={"model": "moods", "input": "a"})
        assert answer.status_code == 504
        await house.until(lambda: not house.predicting and house.released and house.records)
    assert house.work == [] and house.records[0].outcome == "DEADLINE_EXCEEDED"


async def test_a_request_is_one_trace_without_content(http: httpx.AsyncClient, house: Any) -> None:
    answer = await http.post("/v1/classify", json={"model": "moods", "input": "secret"})
    await house.until(lambda: house.records)
    async with asyncio.timeout(5):  # the request's span ends a moment after the answer was read
        while not (spans := telemetry.ring.of_request(answer.headers["x-request-id"])):
            await asyncio.sleep(0)
    assert {span.trace_id for span in spans} == {house.records[0].trace_id}
    assert "weir.inference.v1.PredictionService/Predict" in {span.name for span in spans}
    assert "secret" not in repr(spans) and "weir_sk" not in repr(spans)


async def test_models_are_listed_with_what_they_do(sdk: openai.AsyncOpenAI) -> None:
    told = {model.id: model.model_extra or {} async for model in sdk.models.list()}
    assert (told["moods"]["task"], told["moods"]["version"]) == ("text-classification", "2")
    assert (told["tales"]["task"], told["tales"]["version"]) == ("generation", None)
