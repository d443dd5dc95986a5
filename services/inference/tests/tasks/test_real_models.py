"""Whole pipelines over the shared assets' models, on real files, pictures and texts."""

import base64
import csv
import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from weir_inference.core.prediction import Blobs, Boxes, Classes, Lines, Pictures, Texts

Serve = Callable[[str], Any]

REPOSITORY = Path(__file__).resolve().parents[4]
# A portrait in the public domain that matplotlib ships.
PORTRAIT = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"


def best(prediction: Any) -> str:
    assert isinstance(prediction, Classes)
    return prediction.classes[0].label


def png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("mode", "thresholds"),
    [
        ("high_confidence", {}),  # as it is
        ("medium_confidence", {"thresholds": {}}),
        ("best_guess", {"thresholds": {}, "threshold": 0.0}),
    ],
)
async def test_magika_tells_its_authors_examples_as_they_do(
    served: Serve, assets: Path, mode: str, thresholds: dict[str, Any]
) -> None:
    file = assets / "onnx/magika-v3_3/inference_examples_by_content.json.gz"
    examples = [
        example
        for example in json.loads(gzip.decompress(file.read_bytes()))
        if example["prediction_mode"] == mode
    ]
    assert len(examples) == 47
    contents = tuple(base64.b64decode(example["content_base64"]) for example in examples)
    magika = served("magika")
    magika.task = replace(magika.task, types=replace(magika.task.types, **thresholds))
    answers = await magika.predict(Blobs(contents), top_k=1)
    for answer, example in zip(answers, examples, strict=True):
        (told,) = answer.classes
        expected = example["prediction"]
        assert told.label == expected["output"]
        assert told.score == pytest.approx(expected["score"], abs=1e-5)


async def test_magika_knows_the_files_of_this_repository(served: Serve, assets: Path) -> None:
    expected = {
        REPOSITORY / "services/inference/weir_inference/core/scheduler.py": "python",
        REPOSITORY / "protos/weir/inference/v1/inference.proto": "proto",
        REPOSITORY / "pyproject.toml": "toml",
        REPOSITORY / "docker-compose.yml": "yaml",
        REPOSITORY / "README.md": "markdown",
        assets / "onnx/samples/wolves.jpg": "jpeg",
        assets / "onnx/samples/librispeech-1272-141231-0002.wav": "wav",
        assets / "onnx/mnist/mnist-8.onnx": "onnx",
        assets / "eval/mnist/t10k-labels-idx1-ubyte.gz": "gzip",
        Path(__file__).parents[2] / "models/weir-tales/loss.png": "png",
    }
    blobs = Blobs(tuple(path.read_bytes() for path in expected))
    answers = await served("magika").predict(blobs)
    assert [best(answer) for answer in answers] == list(expected.values())


async def test_ultraface_finds_the_one_face_of_a_portrait_and_none_of_wolves(
    served: Serve, assets: Path
) -> None:
    wolves = (assets / "onnx/samples/wolves.jpg").read_bytes()
    portrait, none = await served("ultraface").predict(Pictures((PORTRAIT.read_bytes(), wolves)))
    assert isinstance(portrait, Boxes)
    assert (portrait.width, portrait.height) == (512, 600)
    (face,) = portrait.boxes
    assert (face.label, face.score > 0.99) == ("face", True)
    # Measured by eye: forehead to chin, ear to ear.
    edges = (face.x_min, face.y_min, face.x_max, face.y_max)
    assert edges == pytest.approx((170, 140, 360, 350), abs=25)
    assert none.boxes == ()


async def test_fastestdet_finds_what_is_to_be_seen(served: Serve, assets: Path) -> None:
    samples = assets / "onnx/samples"
    files = (samples / "wolves.jpg", samples / "australia.jpg", PORTRAIT)
    task = served("fastestdet")
    answers = await task.predict(Pictures(tuple(file.read_bytes() for file in files)))
    wolves, street, portrait = (
        [box for box in answer.boxes if box.score > 0.84] for answer in answers
    )
    # COCO has no wolves: white animals on four legs are its sheep.
    assert [box.label for box in wolves] == ["sheep", "sheep"]
    assert [box.label for box in street] == ["stop sign", "car"]
    assert {box.label for box in portrait} == {"person", "tie"}
    sign, car = street
    # Measured by eye in the picture of 1300 x 876.
    assert (sign.x_min, sign.y_min, sign.x_max, sign.y_max) == pytest.approx(
        (217, 117, 468, 370), abs=30
    )
    assert (car.x_min, car.y_min, car.x_max, car.y_max) == pytest.approx(
        (687, 478, 1194, 668), abs=35
    )


async def test_mnist_reads_at_least_98_of_100_digits(served: Serve, assets: Path) -> None:
    folder = assets / "eval/mnist"
    digits = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    pixels = np.frombuffer(digits, np.uint8).reshape(-1, 28, 28)
    pictures = [png(Image.fromarray(one)) for one in pixels]
    task = served("mnist")
    told: list[str] = []
    for start in range(0, len(pictures), 1000):
        answers = await task.predict(Pictures(tuple(pictures[start : start + 1000])))
        told += map(best, answers)
    n_right = sum(a == str(b) for a, b in zip(told, labels, strict=True))
    assert len(told) == 10_000
    assert n_right / len(told) >= 0.98


async def test_spam_is_told_as_the_model_s_golden_answers_say(served: Serve, assets: Path) -> None:
    golden = json.loads((assets / "onnx/golden_outputs.json").read_text())
    expected = golden["models"]["onnx/spam/lr-tfidf-baseline_c-locale.onnx"]
    with (assets / "eval/sms-spam/sms_spam.csv").open(encoding="utf-8", newline="") as file:
        texts = tuple(row["text"] for row, _ in zip(csv.DictReader(file), range(20), strict=False))
    answers = await served("spam").predict(Texts(texts))
    labels = ["ham", "spam"]
    assert [best(one) for one in answers] == [labels[i] for i in expected["first_20_labels"]]
    spam = [{one.label: one.score for one in answer.classes}["spam"] for answer in answers]
    assert spam == pytest.approx(expected["first_20_spam_probability"], abs=1e-4)


async def test_a_line_that_stands_on_its_head_is_told(served: Serve) -> None:
    pictures, expected = [], []
    for text in ("Good morning, water!", "Invoice 2026-114", "held back by the weir"):
        font = ImageFont.load_default(28)
        left, top, right, lower = font.getbbox(text)
        size = (int(right - left) + 16, int(lower - top) + 16)
        upright = Image.new("RGB", size, "white")
        ImageDraw.Draw(upright).text((8 - left, 8 - top), text, "black", font)
        for turned in (0, 180):
            pictures.append(png(upright.rotate(turned)))
            expected.append(turned)
    answers = await served("ppocr-direction").predict(Pictures(tuple(pictures)))
    assert all(isinstance(answer, Lines) for answer in answers)
    assert [answer.lines[0].turned for answer in answers] == expected


@pytest.mark.parametrize("name", ["silero-vad", "super-resolution"])
def test_models_of_tensors_have_a_folder_and_no_pipeline(served: Serve, name: str) -> None:
    assert served(name).task is None
