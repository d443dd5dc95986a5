"""Models that answer in one piece, from the client to the ledger, and swapped under its calls."""

import asyncio
import base64
import io
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image, ImageDraw

from weir_contracts.inference.v1 import inference_pb2 as repository
from weir_contracts.inference.v1.inference_pb2_grpc import ModelRepositoryServiceStub
from weir_contracts.oip.v2 import inference_pb2 as oip
from weir_contracts.oip.v2.inference_pb2_grpc import GRPCInferenceServiceStub

HERE = Path(__file__).parent
MODELS = HERE.parents[1] / "services" / "inference" / "models"
ITEM_NANOS = 20_000  # of the price book that `weir up` publishes
SWAPS = 5
CANARY = "nightjars over Zanzibar"


def digit(number: int) -> str:
    """A picture of a digit, white on black, as base64."""
    picture = Image.new("L", (28, 28))
    ImageDraw.Draw(picture).text((8, 2), str(number), fill=255, font_size=22)
    data = io.BytesIO()
    picture.save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


async def test_texts_are_classified_charged_and_recorded(stack: Any, until: Any) -> None:
    async with stack.http() as http:
        texts = ["What a wonderful film.", "A boring waste of time."]
        body = {"model": "weir-sentiment", "input": texts}
        answer = await http.post("/v1/classify", json=body)
        told = answer.json()
    labels = [one["classes"][0]["label"] for one in told["data"]]
    assert labels == ["positive", "negative"]
    request_id = answer.headers["x-request-id"]
    assert await stack.charge_of(request_id) == 2 * ITEM_NANOS == told["weir"]["cost_nanos"]
    record = await until(lambda: stack.audit_record(request_id), "the audit record")
    assert (record.record.model, record.record.model_version) == ("weir-sentiment", "1")
    assert (record.record.work.items, record.record.outcome) == (2, "stop")


async def test_rules_look_at_the_texts(stack: Any) -> None:
    async with stack.http() as http:
        body = {"model": "weir-sentiment", "input": "pay with 4111 1111 1111 1111, I love it"}
        told = (await http.post("/v1/classify", json=body)).json()
    assert [one["rule"] for one in told["weir"]["findings"]] == ["payment_card"]


async def test_pictures_and_people_too(stack: Any) -> None:
    async with stack.http() as http:
        body = {"model": "weir-digits", "image": digit(7), "top_k": 1}
        told = (await http.post("/v1/classify", json=body)).json()
        assert [one["label"] for one in told["data"][0]["classes"]] == ["7"]
        body = {"model": "weir-movies", "users": [{"history": ["1"]}], "top_k": 3}
        told = (await http.post("/v1/recommend", json=body)).json()
        items = told["data"][0]["items"]
        assert len({one["id"] for one in items} - {"1"}) == 3
        assert all(one["because"] == ["1"] for one in items)


async def test_a_wrong_task_or_input_is_named(stack: Any) -> None:
    async with stack.http() as http:
        for path, body, field in (
            ("/v1/classify", {"model": "weir-tales", "input": "x"}, "model"),
            ("/v1/embeddings", {"model": "weir-sentiment", "input": "x"}, "model"),
            ("/v1/classify", {"model": "weir-digits", "image": "bm8gcGljdHVyZQ=="}, "image"),
        ):
            answer = await http.post(path, json=body)
            assert answer.status_code == 400
            assert answer.json()["error"]["param"].startswith(field)


async def test_what_was_asked_is_written_nowhere(stack: Any) -> None:
    async with stack.http() as http:
        for model, wrong in (("weir-sentiment", 200), ("weir-digits", 400), ("nowhere", 404)):
            answer = await http.post("/v1/classify", json={"model": model, "input": CANARY})
            assert answer.status_code == wrong
            assert CANARY not in answer.text
            request_id = answer.headers["x-request-id"]
            assert CANARY not in stack.weir("trace", request_id, "--json").stdout
    async with stack.http() as http:
        body = {"inputs": [{"name": CANARY, "datatype": "FP32", "shape": [1], "data": [1.0]}]}
        answer = await http.post("/v2/models/weir-digits/infer", json=body)
        assert answer.status_code == 400
    for log in stack.home.logs.iterdir():
        assert CANARY not in log.read_text(errors="replace"), log.name


@pytest.mark.timeout(1000)  # the first time, the clients are installed
def test_unmodified_triton_clients_work_at_the_gateway(stack: Any, clients_python: Path) -> None:
    calls = HERE / "triton_at_the_gateway.py"
    done = subprocess.run(
        [
            *(str(clients_python), "-m", "pytest", str(calls), "--noconftest", "-q"),
            *("--rootdir", str(stack.home.folder), "-c", os.devnull, "-p", "no:cacheprovider"),
        ],
        env={
            **os.environ,
            "WEIR_KEY": stack.api_key,
            "OIP_ADDRESS": stack.grpc_address,
            "OIP_HTTP": stack.http_url.removeprefix("http://"),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def digits_request() -> oip.ModelInferRequest:
    pixels = np.random.default_rng(1).random((2, 1, 28, 28), np.float32)
    return oip.ModelInferRequest(
        model_name="weir-digits",
        inputs=[
            oip.ModelInferRequest.InferInputTensor(
                name="pixels", datatype="FP32", shape=pixels.shape
            )
        ],
        raw_input_contents=[pixels.tobytes()],
    )


async def test_a_model_is_swapped_under_calls_and_none_fails(
    stack: Any, until: Any, tmp_path: Path
) -> None:
    answered: dict[str, str] = {}
    async with stack.admin() as operator, grpc.aio.insecure_channel(stack.grpc_address) as channel:
        models = ModelRepositoryServiceStub(operator.channel("inference"))
        infer = GRPCInferenceServiceStub(channel).ModelInfer
        metadata = (("authorization", f"Bearer {stack.api_key}"),)
        done = asyncio.Event()

        async def call_on() -> None:
            while not done.is_set():
                calling: Any = infer(digits_request(), metadata=metadata, timeout=30)
                answer = await calling
                told = dict(answer.parameters)
                answered[told["weir_request_id"].string_param] = answer.model_version

        callers = [asyncio.create_task(call_on()) for _ in range(4)]
        for n in range(SWAPS):
            source = tmp_path / str(n)
            shutil.copytree(MODELS / "weir-digits" / "1", source)
            load = repository.LoadModelRequest(name="weir-digits", source=str(source))
            loaded = await models.LoadModel(load, timeout=60)
            asked = len(answered)
            while len(answered) < asked + 8:
                await asyncio.sleep(0.01)
        assert loaded.model.version == str(1 + SWAPS)
        bad = tmp_path / "bad"
        shutil.copytree(MODELS / "weir-digits" / "1", bad)
        (bad / "model.onnx").write_bytes(b"\x80\x04no model")
        with pytest.raises(Exception, match=r"model\.onnx"):
            await models.LoadModel(
                repository.LoadModelRequest(name="weir-digits", source=str(bad)), timeout=60
            )
        asked = len(answered)
        while len(answered) < asked + 8:
            await asyncio.sleep(0.01)
        done.set()
        await asyncio.gather(*callers)
        for version in range(2, 2 + SWAPS):  # as it was, for the tests after this one
            if version > 1:
                unload = repository.UnloadModelRequest(name="weir-digits", version=str(version))
                if version == 1 + SWAPS:
                    load = repository.LoadModelRequest(name="weir-digits", version="1")
                    await models.LoadModel(load, timeout=60)
                    await models.UnloadModel(unload, timeout=60)
    assert set(answered.values()) >= {"1", str(1 + SWAPS)}
    for request_id, version in [*answered.items()][:: max(1, len(answered) // 20)]:

        async def recorded(request_id: str = request_id) -> Any:
            return await stack.audit_record(request_id)

        record = await until(recorded, "the audit record")
        assert record.record.model_version == version
