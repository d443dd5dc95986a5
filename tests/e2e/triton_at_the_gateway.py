"""What users of `tritonclient` do, with a key, at a running stack. Run by `test_predictions.py`."""

import os

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

HEADERS = {"authorization": f"Bearer {os.environ['WEIR_KEY']}"}
PIXELS = np.random.default_rng(1).random((3, 1, 28, 28), np.float32)


def test_tensors_by_grpc():
    with triton.InferenceServerClient(os.environ["OIP_ADDRESS"]) as client:
        assert client.is_server_live()
        assert client.is_model_ready("weir-digits", headers=HEADERS)
        metadata = client.get_model_metadata("weir-digits", headers=HEADERS)
        assert [one.name for one in metadata.inputs] == ["pixels"]
        pixels = triton.InferInput("pixels", PIXELS.shape, "FP32")
        pixels.set_data_from_numpy(PIXELS)
        answer = client.infer("weir-digits", [pixels], headers=HEADERS)
        assert answer.as_numpy("logits").shape == (3, 10)
        with pytest.raises(InferenceServerException, match="key"):
            client.infer("weir-digits", [pixels])


def test_text_by_grpc_streamed():
    answers = []
    with triton.InferenceServerClient(os.environ["OIP_ADDRESS"]) as client:
        client.start_stream(lambda result, error: answers.append((result, error)), headers=HEADERS)
        text = triton.InferInput("text_input", [1], "BYTES")
        text.set_data_from_numpy(np.array([b"Once upon a time"], np.object_))
        stream = triton.InferInput("stream", [1], "BOOL")
        stream.set_data_from_numpy(np.array([True]))
        parameters = triton.InferInput("sampling_parameters", [1], "BYTES")
        parameters.set_data_from_numpy(np.array([b'{"max_tokens": 8}'], np.object_))
        client.async_stream_infer("weir-tales", [text, stream, parameters])
        client.stop_stream()
    assert all(error is None for _, error in answers)
    finals = [
        one.get_response().parameters["triton_final_response"].bool_param for one, _ in answers
    ]
    assert finals[-1]
    assert not any(finals[:-1])
    texts = [one.as_numpy("text_output") for one, _ in answers]
    assert b"".join(text[0] for text in texts if text is not None).strip()


def test_tensors_by_http():
    with triton_http.InferenceServerClient(os.environ["OIP_HTTP"]) as client:
        pixels = triton_http.InferInput("pixels", PIXELS.shape, "FP32")
        pixels.set_data_from_numpy(PIXELS)
        answer = client.infer("weir-digits", [pixels], headers=dict(HEADERS))
        assert answer.as_numpy("logits").shape == (3, 10)
