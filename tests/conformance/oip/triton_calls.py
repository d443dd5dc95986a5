"""What users of `tritonclient.grpc` do. Run by `test_clients.py`, where that is installed."""

import os
import queue
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

NUMBERS = np.array([[0, 1, 2], [100, 3, 1]])
TENSORS = {
    "BOOL": NUMBERS.astype(np.bool_),
    **{f"INT{bits}": -NUMBERS.astype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": NUMBERS.astype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    "FP16": NUMBERS.astype(np.float16) / 8,
    "FP32": NUMBERS.astype(np.float32) / 7,
    "FP64": NUMBERS.astype(np.float64) / 7,
    "BF16": NUMBERS.astype(ml_dtypes.bfloat16),
    "BYTES": np.array([[b"", b"\x00\xff"], ["größer".encode(), b"a" * 300]], np.object_),
}


@pytest.fixture(scope="module")
def client() -> Iterator[InferenceServerClient]:
    with InferenceServerClient(os.environ["OIP_ADDRESS"]) as opened:
        yield opened


def input_of(tensor: Any, name: str = "x") -> InferInput:
    made = InferInput(name, tensor.shape, np_to_triton_dtype(tensor.dtype))
    made.set_data_from_numpy(tensor)
    return made


def sum_inputs(a: int, b: int) -> list[InferInput]:
    return [input_of(np.array([value], np.int32), name) for name, value in (("a", a), ("b", b))]


@pytest.mark.parametrize("rows", [2, 1, 0])
@pytest.mark.parametrize("datatype", TENSORS)
def test_tensors_of_every_datatype_come_back_as_they_are(client, datatype, rows):
    tensor = TENSORS[datatype][:rows]
    answer = client.infer(f"identity_{datatype.lower()}", [input_of(tensor)], request_id="r1")
    back = answer.as_numpy("y")
    assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
    assert back.tolist() == tensor.tolist()
    assert answer.get_output("y").datatype == datatype
    response = answer.get_response()
    assert (response.id, response.model_version) == ("r1", "2")


def test_ten_megabytes_come_back_as_they_are(client):
    tensor = np.random.default_rng(1).standard_normal((640, 4096), np.float32)
    answer = client.infer("identity_fp32", [input_of(tensor)])
    assert np.array_equal(answer.as_numpy("y"), tensor)


def test_the_outputs_asked_for_and_the_version_asked_for(client):
    wanted = [InferRequestedOutput("difference")]
    answer = client.infer("add_sub", sum_inputs(5, 3), model_version="1", outputs=wanted)
    assert answer.as_numpy("difference").tolist() == [2]
    assert answer.as_numpy("sum") is None
    assert answer.get_response().model_version == "1"


def test_priority_timeout_parameters_and_compression_are_taken(client):
    answer = client.infer(
        "add_sub",
        sum_inputs(5, 3),
        priority=1,
        timeout=5_000_000,
        client_timeout=10,
        headers={"x-colour": "blue"},
        compression_algorithm="gzip",
        parameters={"colour": "blue", "share": 0.5, "deep": True, "n": 3},
    )
    assert answer.as_numpy("sum").tolist() == [8]


@pytest.mark.parametrize(
    ("model", "inputs", "outputs", "status", "says"),
    [
        ("gone", sum_inputs(1, 2), None, "NOT_FOUND", "gone"),
        ("add_sub", sum_inputs(1, 2)[:1], None, "INVALID_ARGUMENT", "'b' is missing"),
        ("identity_fp32", [input_of(TENSORS["FP64"])], None, "INVALID_ARGUMENT", "FP64"),
        (
            "add_sub",
            sum_inputs(1, 2),
            [InferRequestedOutput("product")],
            "INVALID_ARGUMENT",
            "no output 'product'",
        ),
        (
            "add_sub",
            sum_inputs(1, 2),
            [InferRequestedOutput("sum", class_count=3)],
            "INVALID_ARGUMENT",
            "take the scores",
        ),
    ],
)
def test_an_error_has_its_status_and_says_why(client, model, inputs, outputs, status, says):
    with pytest.raises(InferenceServerException) as refused:
        client.infer(model, inputs, outputs=outputs)
    assert refused.value.status() == f"StatusCode.{status}"
    assert says in refused.value.message()


def test_shared_memory_is_refused(client):
    shared = InferInput("a", [1], "INT32")
    shared.set_shared_memory("region", 4)
    with pytest.raises(InferenceServerException, match="memory is not shared"):
        client.infer("add_sub", [shared, sum_inputs(1, 2)[1]])


def test_health_metadata_and_the_index(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("add_sub") and client.is_model_ready("add_sub", "1")
    assert not client.is_model_ready("add_sub", "9") and not client.is_model_ready("gone")
    server = client.get_server_metadata(as_json=True)
    assert (server["name"], server["version"]) == ("weir", "1.2.3")
    model = client.get_model_metadata("add_sub", as_json=True)
    assert (model["name"], model["versions"], model["platform"]) == (
        "add_sub",
        ["1", "2"],
        "add_sub",
    )
    assert model["inputs"][0] == {"name": "a", "datatype": "INT32", "shape": ["-1"]}
    index = client.get_model_repository_index()
    assert len(index.models) == 1 + len(TENSORS)
    assert {one.state for one in index.models} == {"READY"}


def test_a_model_is_unloaded_and_loaded(client):
    client.unload_model("identity_int8")
    try:
        assert not client.is_model_ready("identity_int8")
        with pytest.raises(InferenceServerException) as refused:
            client.infer("identity_int8", [input_of(TENSORS["INT8"])])
        assert refused.value.status() == "StatusCode.UNAVAILABLE"
    finally:
        client.load_model("identity_int8")
    assert client.is_model_ready("identity_int8")
    with pytest.raises(InferenceServerException, match="gone"):
        client.load_model("gone")
    with pytest.raises(InferenceServerException, match="as its folder says"):
        client.load_model("identity_int8", config="{}")


def test_statistics_count_calls(client):
    def count() -> int:
        stats = client.get_inference_statistics("add_sub", "2").model_stats
        return sum(one.inference_stats.success.count for one in stats)

    before = count()
    client.infer("add_sub", sum_inputs(1, 1))
    assert count() == before + 1


def test_calls_by_callback(client):
    done: queue.Queue[Any] = queue.Queue()
    for n in range(20):
        client.async_infer(
            "add_sub", sum_inputs(n, 1), callback=lambda result, error: done.put((result, error))
        )
    got = [done.get(timeout=20) for _ in range(20)]
    assert all(error is None for _, error in got)
    assert sorted(int(one.as_numpy("sum")[0]) for one, _ in got) == list(range(1, 21))


def test_a_stream_answers_in_order_and_outlives_errors(client):
    done: queue.Queue[Any] = queue.Queue()
    client.start_stream(callback=lambda result, error: done.put((result, error)))
    for n in range(50):
        model = "gone" if n == 7 else "add_sub"
        client.async_stream_infer(
            model, sum_inputs(n, 1), request_id=str(n), enable_empty_final_response=True
        )
    got = [done.get(timeout=20) for _ in range(50)]
    client.stop_stream()
    for n, (result, error) in enumerate(got):
        if n == 7:
            assert "gone" in error.message()
            continue
        response = result.get_response()
        assert (response.id, result.as_numpy("sum").tolist()) == (str(n), [n + 1])
        assert response.parameters["triton_final_response"].bool_param
