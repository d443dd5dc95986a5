"""Real models give what onnxruntime alone gives, and what was written down of them."""

import asyncio
import base64
import csv
import gzip
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from weir_inference.adapters.engines.onnx.onnx_engine import open_onnx_engine
from weir_inference.adapters.engines.onnx.onnx_model import BadOnnxModel
from weir_inference.adapters.engines.onnx.onnx_settings import OnnxSettings
from weir_inference.core.tensor_engine import InferRequest, TensorEngine
from weir_inference.core.tensors import Tensor, Tensors
from weir_kit.clock import SystemClock

SETTINGS = OnnxSettings()
IMAGES = [
    "ultraface/version-RFB-320_simplified",
    "fastestdet/FastestDet",
    "super-resolution/pytorch_super_resolution",
    "ppocr/ch_ppocr_mobile_v2.0_cls_infer",
    "mnist/mnist-8",
]


@pytest.fixture(scope="session")
def golden(assets: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((assets / "onnx/golden_outputs.json").read_text("utf-8"))
    return dict(content["models"])


def ramp(shape: list[int]) -> Tensor:
    """The recipe of golden_outputs.json."""
    return (((np.arange(np.prod(shape)) % 251) / 125.0) - 1.0).astype(np.float32).reshape(shape)


def bare(file: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])


async def outputs_of(engine: TensorEngine, inputs: Tensors) -> Tensors:
    return (await engine.infer(InferRequest(inputs))).outputs


@pytest.mark.parametrize("name", IMAGES)
async def test_images(assets: Path, golden: dict[str, Any], name: str) -> None:
    file = assets / "onnx" / f"{name}.onnx"
    known = golden[f"onnx/{name}.onnx"]
    image = ramp(known["input"]["shape"])
    # Like, but not the same, so that a row given to the wrong caller would show.
    images = [image, image[..., ::-1].copy(), -image]
    reference = bare(file)
    input_name = known["input"]["name"]
    async with open_onnx_engine("m", str(file), SETTINGS, SystemClock()) as engine:
        answers = await asyncio.gather(*(outputs_of(engine, {input_name: one}) for one in images))
    for one, outputs in zip(images, answers, strict=True):
        theirs = reference.run(None, {input_name: one})
        for spec, expected in zip(reference.get_outputs(), theirs, strict=True):
            np.testing.assert_allclose(outputs[spec.name], expected, rtol=1e-5, atol=1e-5)
    for output, written in known["outputs"].items():
        tensor = answers[0][output]
        assert (list(tensor.shape), str(tensor.dtype)) == (written["shape"], written["dtype"])
        first = tensor.ravel()[: len(written["first"])]
        np.testing.assert_allclose(first, written["first"], rtol=1e-4, atol=2e-6)
        assert float(tensor.astype(np.float64).sum()) == pytest.approx(written["sum"], rel=1e-4)


async def test_texts_of_sms_are_told_spam_from_ham(assets: Path, golden: dict[str, Any]) -> None:
    name = "onnx/spam/lr-tfidf-baseline_c-locale.onnx"
    known = golden[name]
    with (assets / "eval/sms-spam/sms_spam.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)][:200]
    async with open_onnx_engine("m", str(assets / name), SETTINGS, SystemClock()) as engine:
        answers = await asyncio.gather(
            *(
                outputs_of(engine, {"input": np.array([[text.encode()]], dtype=object)})
                for text in texts
            )
        )
        assert engine.load().rows > engine.load().batches, "some were joined"
    theirs = bare(assets / name).run(None, {"input": np.array(texts, dtype=object)[:, None]})
    labels = np.concatenate([outputs["label"] for outputs in answers])
    spam = np.concatenate([outputs["probabilities"] for outputs in answers])[:, 1]
    assert np.array_equal(labels, theirs[0])
    np.testing.assert_allclose(spam, theirs[1][:, 1], rtol=1e-5, atol=1e-5)
    assert labels[:20].tolist() == known["first_20_labels"]
    np.testing.assert_allclose(spam[:20], known["first_20_spam_probability"], atol=1e-4)


async def test_speech_is_found_with_the_state_carried_from_call_to_call(
    assets: Path, golden: dict[str, Any]
) -> None:
    name = "onnx/silero-vad/silero_vad_16k_op15.onnx"
    known = golden[name]
    with wave.open(str(assets / "onnx/samples/librispeech-1272-141231-0002.wav")) as file:
        content = file.readframes(file.getnframes())
    samples = np.frombuffer(content, np.int16).astype(np.float32) / 32768
    state, before = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32)
    found: list[float] = []
    async with open_onnx_engine("m", str(assets / name), SETTINGS, SystemClock()) as engine:
        for i in range(known["n_chunks"]):
            chunk = samples[i * 512 : (i + 1) * 512]
            chunk = np.pad(chunk, (0, 512 - len(chunk)))
            outputs = await outputs_of(
                engine,
                {
                    "input": np.concatenate([before, chunk])[None],
                    "state": state,
                    "sr": np.array(16_000),
                },
            )
            state, before = outputs["stateN"], chunk[-64:]
            found.append(float(outputs["output"][0, 0]))
    np.testing.assert_allclose(found[:20], known["first_20"], atol=1e-4)
    np.testing.assert_allclose(found[100:110], known["chunks_100_to_110"], atol=1e-4)
    assert np.mean(np.array(found) > 0.5) == pytest.approx(known["share_over_0_5"], abs=1e-3)


async def test_file_types_are_those_that_magika_itself_tells(assets: Path) -> None:
    """Also while many ask: two rows at once would change its scores by up to 2 %."""
    folder = assets / "onnx/magika-v3_3"
    config = json.loads((folder / "config.min.json").read_text("utf-8"))
    packed = (folder / "inference_examples_by_content.json.gz").read_bytes()
    examples = [
        one for one in json.loads(gzip.decompress(packed)) if one["prediction"]["dl"] != "undefined"
    ]
    contents = [base64.b64decode(one["content_base64"]) for one in examples]
    inputs = [{"bytes": features(content, config)} for content in contents]
    async with open_onnx_engine("m", str(folder), SETTINGS, SystemClock()) as engine:
        answers = await asyncio.gather(*(outputs_of(engine, one) for one in inputs))
    assert len(answers) == 129
    reference = bare(folder / "model.onnx")
    for example, one, outputs in zip(examples, inputs, answers, strict=True):
        scores = outputs["target_label"]
        np.testing.assert_allclose(scores, reference.run(None, one)[0], rtol=1e-5, atol=1e-5)
        assert config["target_labels_space"][int(scores.argmax())] == example["prediction"]["dl"]
        assert float(scores.max()) == pytest.approx(example["prediction"]["score"], abs=1e-5)


def features(content: bytes, config: dict[str, Any]) -> Tensor:
    """What magika's model sees of a file: its first and last bytes, without white space around."""
    n_begin, n_end, block = config["beg_size"], config["end_size"], config["block_size"]
    begin = content[:block].lstrip()[:n_begin]
    end = content[-block:].rstrip()[-n_end:]
    ids = np.full((1, n_begin + n_end), config["padding_token"], np.int32)
    ids[0, : len(begin)] = list(begin)
    if end:
        ids[0, -len(end) :] = list(end)
    return ids


async def test_the_model_that_needs_a_locale_is_refused_and_the_reason_told(assets: Path) -> None:
    file = assets / "onnx/spam/lr-tfidf-baseline.onnx"
    try:
        bare(file)
    except Exception as error:
        assert "locale" in str(error)
    else:
        pytest.skip("this machine has the locale en_US.UTF-8")
    with pytest.raises(BadOnnxModel, match=r"lr-tfidf-baseline\.onnx.*en_US\.UTF-8"):
        async with open_onnx_engine("m", str(file), SETTINGS, SystemClock()):
            pass


async def test_digits_are_told_as_they_were(assets: Path, golden: dict[str, Any]) -> None:
    known = golden["onnx/mnist/mnist-8.onnx"]["mnist_test_first_1000"]
    images = gzip.decompress((assets / "eval/mnist/t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((assets / "eval/mnist/t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    pixels = np.frombuffer(images, np.uint8).reshape(-1, 1, 1, 28, 28)[:1000].astype(np.float32)
    file = str(assets / "onnx/mnist/mnist-8.onnx")
    async with open_onnx_engine("m", file, SETTINGS, SystemClock()) as engine:
        answers = await asyncio.gather(*(outputs_of(engine, {"Input3": one}) for one in pixels))
    told = [int(outputs["Plus214_Output_0"].argmax()) for outputs in answers]
    assert told[:50] == known["predictions_first_50"]
    right = [digit == label for digit, label in zip(told, labels[:1000], strict=True)]
    assert np.mean(right) == known["accuracy"]
