"""`weir models`: listing, loading, unloading, watching and packing."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from weir_contracts.inference.v1 import inference_pb2 as pb
from weir_kit.errors import DeadlineExceeded, InvalidArgument, ModelNotFound, Unavailable

DIGEST = hashlib.sha256(b"").hexdigest()
DIGITS = pb.Model(
    name="weir-digits",
    engine="onnx",
    task="image-classification",
    version="2",
    digest=DIGEST,
    loaded_at_s=1_795_000_000,
    labels={"team": "vision"},
    inputs=[pb.TensorSpec(name="image", datatype="FP32", shape=[-1, 1, 28, 28])],
)
TALES = pb.Model(
    name="weir-tales",
    engine="torch",
    architecture="llama",
    context_tokens=512,
    vocab_size=4096,
    parameters=5_000_000,
    dtype="bf16",
    loaded_at_s=1_795_000_000,
    task="generation",
)
SERVED, GONE = pb.WatchModelsResponse.CHANGE_SERVED, pb.WatchModelsResponse.CHANGE_GONE


def served(model: pb.Model) -> pb.WatchModelsResponse:
    return pb.WatchModelsResponse(change=SERVED, model=model)


def gone(model: pb.Model) -> pb.WatchModelsResponse:
    named = pb.Model(name=model.name, version=model.version)
    return pb.WatchModelsResponse(change=GONE, model=named)


async def test_the_list_fits_a_common_screen_and_names_task_and_version(stack: Any) -> None:
    stack.inference.models = [DIGITS, TALES]
    done = await stack.weir("models")
    header, digits, tales = done.out.splitlines()
    assert max(map(len, done.out.splitlines())) <= 80
    assert header.split()[:4] == ["model", "task", "version", "engine"]
    assert digits.split() == ["weir-digits", "image-classification", "2", "onnx"]
    assert tales.split()[:5] == ["weir-tales", "generation", "-", "torch", "5,000,000"]


async def test_json_lists_everything(stack: Any) -> None:
    stack.inference.models = [DIGITS]
    [model] = (await stack.weir("models", "--json")).json
    assert (model["task"], model["version"], model["digest"]) == (DIGITS.task, "2", DIGEST)
    assert model["labels"] == {"team": "vision"} and model["outputs"] == []
    assert model["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 28, 28]}]


async def test_a_version_is_loaded_from_where_it_is(stack: Any, tmp_path: Path) -> None:
    stack.inference.models = [DIGITS]
    done = await stack.weir("models", "load", "weir-digits", "--version", "2")
    assert done.out.startswith("weir-digits 2  image-classification  by onnx")
    found = await stack.weir("models", "load", "weir-digits", "--source", str(tmp_path), "--json")
    assert found.json["version"] == "2"
    await stack.weir("models", "load", "weir-digits", "--source", "hf://org/name@main")
    assert stack.inference.asked == [
        pb.LoadModelRequest(name="weir-digits", version="2"),
        pb.LoadModelRequest(name="weir-digits", source=str(tmp_path)),
        pb.LoadModelRequest(name="weir-digits", source="hf://org/name@main"),
    ]


async def test_a_model_or_one_version_of_it_is_unloaded(stack: Any) -> None:
    done = await stack.weir("models", "unload", "weir-digits", "--version", "1")
    assert done.out == "weir-digits 1 is unloaded\n"
    found = (await stack.weir("models", "unload", "weir-digits", "--json")).json
    assert found == {"name": "weir-digits", "version": ""}
    assert [one.version for one in stack.inference.asked] == ["1", ""]


async def test_an_alias_is_given_a_meaning_and_loses_it(stack: Any) -> None:
    done = await stack.weir("models", "alias", "weir-digits", "canary", "2")
    assert done.out == "weir-digits@canary means weir-digits 2\n"
    done = await stack.weir("models", "alias", "weir-digits", "canary")
    assert done.out == "weir-digits@canary means no version\n"
    assert [one.version for one in stack.inference.asked] == ["2", ""]
    assert {(one.name, one.alias) for one in stack.inference.asked} == {("weir-digits", "canary")}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModelNotFound("no model 'gone'"), "weir: no model 'gone'"),
        (InvalidArgument("must be short", field="name"), "weir: name: must be short"),
        (InvalidArgument("the name is long", field="name"), "weir: the name is long"),
        (DeadlineExceeded("late"), "calls of weir-digits still run after 60 s"),
    ],
)
async def test_what_cannot_be_unloaded_is_one_line(stack: Any, error: Any, said: str) -> None:
    stack.inference.error = error
    done = await stack.weir("models", "unload", "weir-digits")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert said in done.err


async def test_a_watch_tells_each_change_once_also_over_a_stream_that_ended(stack: Any) -> None:
    newer = pb.Model(name="weir-digits", version="3", task=DIGITS.task)
    stack.inference.streams = [
        ([served(TALES), served(DIGITS)], DeadlineExceeded("a stream's end")),
        ([served(TALES), served(DIGITS), served(newer), gone(DIGITS)], None),
    ]
    done = await stack.weir("models", "watch", "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [(one["change"], one["name"], one["version"]) for one in lines] == [
        ("served", "weir-tales", ""),
        ("served", "weir-digits", "2"),
        ("served", "weir-digits", "3"),
        ("gone", "weir-digits", "2"),
    ]


async def test_a_watch_of_a_service_that_goes_away_ends_with_a_line(stack: Any) -> None:
    stack.inference.streams = [([served(DIGITS)], Unavailable("inference is draining"))]
    done = await stack.weir("models", "watch")
    assert done.code == 1 and "inference is draining" in done.err
    digest = DIGEST[:12]
    assert done.out == f"served  weir-digits 2  image-classification  by onnx  {digest}\n"


async def test_a_folder_is_packed_as_sha256sum_reads_it(stack: Any, tmp_path: Path) -> None:
    folder = tmp_path / "1"
    (folder / "onnx").mkdir(parents=True)
    for name in ("model.yaml", "onnx/model.onnx", "LICENSE", "SHA256SUMS"):
        (folder / name).write_text(name)
    found = (await stack.weir("models", "pack", str(folder), "--json")).json
    manifest = (folder / "SHA256SUMS").read_text()
    names = ["LICENSE", "model.yaml", "onnx/model.onnx"]
    assert [line.split("  ")[1] for line in manifest.splitlines()] == names == [*found["files"]]
    assert found["digest"] == hashlib.sha256(manifest.encode()).hexdigest()
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True)
    assert (await stack.weir("models", "pack", str(folder))).out.endswith(f"{found['digest']}\n")
    assert (folder / "SHA256SUMS").read_text() == manifest
