"""Small models of every kind: what is served, what is joined, what is refused and why."""

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from weir_inference.adapters.engines.onnx.onnx_engine import (
    OnnxEngine,
    model_file,
    open_onnx_engine,
)
from weir_inference.adapters.engines.onnx.onnx_model import BadOnnxModel, OnnxModel
from weir_inference.adapters.engines.onnx.onnx_settings import OnnxSettings
from weir_inference.core.tensor_engine import InferRequest, InferResult
from weir_inference.core.tensors import Datatype, Tensor
from weir_kit.clock import ManualClock
from weir_kit.errors import Internal, InvalidArgument

Forge = Any
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
ELEMENTS = {
    Datatype.BOOL: TensorProto.BOOL,
    Datatype.UINT8: TensorProto.UINT8,
    Datatype.UINT16: TensorProto.UINT16,
    Datatype.UINT32: TensorProto.UINT32,
    Datatype.UINT64: TensorProto.UINT64,
    Datatype.INT8: TensorProto.INT8,
    Datatype.INT16: TensorProto.INT16,
    Datatype.INT32: TensorProto.INT32,
    Datatype.INT64: TensorProto.INT64,
    Datatype.FP16: TensorProto.FLOAT16,
    Datatype.FP32: TensorProto.FLOAT,
    Datatype.FP64: TensorProto.DOUBLE,
    Datatype.BF16: TensorProto.BFLOAT16,
    Datatype.BYTES: TensorProto.STRING,
}


@asynccontextmanager
async def opened(file: str, **wishes: Any) -> AsyncIterator[OnnxEngine]:
    wishes = {"threads": 1, **wishes}
    async with open_onnx_engine("m", file, OnnxSettings(**wishes), ManualClock()) as engine:
        yield engine


async def infer(engine: OnnxEngine, **inputs: Tensor) -> InferResult:
    return await engine.infer(InferRequest(inputs))


async def together(engine: OnnxEngine, *calls: dict[str, Tensor]) -> list[InferResult]:
    return list(await asyncio.gather(*(infer(engine, **call) for call in calls)))


@pytest.mark.parametrize("datatype", Datatype)
async def test_every_datatype_goes_in_and_comes_out(forge: Forge, datatype: Datatype) -> None:
    first, second = {
        Datatype.BOOL: ([True, False], [False, False]),
        Datatype.BYTES: ([b"", "é\0".encode()], [b"a", b"b"]),
    }.get(datatype, ([0, 1], [2, 100]))
    calls = [{"x": np.array([one], datatype.dtype)} for one in (first, second)]
    async with opened(forge.unary("Identity", ELEMENTS[datatype])) as engine:
        assert engine.inputs[0].datatype is engine.outputs[0].datatype is datatype
        results = await together(engine, *calls)
    for call, result in zip(calls, results, strict=True):
        assert result.batch_rows == 2, "they were joined"
        assert result.outputs["y"].dtype == datatype.dtype
        assert np.array_equal(result.outputs["y"], call["x"])


async def test_rows_that_see_each_other_are_never_joined(forge: Forge) -> None:
    async with opened(forge.unary("Softmax", FLOAT)) as engine:  # along the last dimension
        joined = await together(engine, *({"x": np.ones((1, 2), np.float32)} for _ in range(2)))
    node = helper.make_node("Softmax", ["x"], ["y"], axis=0)
    shape = (FLOAT, ["rows", None])
    async with opened(forge.model([node], {"x": shape}, {"y": shape})) as engine:
        alone = await together(engine, *({"x": np.ones((1, 2), np.float32)} for _ in range(2)))
    assert [result.outputs["y"].tolist() for result in joined] == [[[0.5, 0.5]]] * 2
    assert [result.outputs["y"].tolist() for result in alone] == [[[1.0, 1.0]]] * 2


async def test_a_model_of_one_row_serves_many_calls_at_once(forge: Forge) -> None:
    async with opened(forge.unary("Neg", FLOAT, [1, 2])) as engine:
        values = [np.full((1, 2), value, np.float32) for value in range(20)]
        results = await together(engine, *({"x": value} for value in values))
    for value, result in zip(values, results, strict=True):
        assert np.array_equal(result.outputs["y"], -value)


async def test_other_shapes_are_not_joined_with(forge: Forge) -> None:
    async with opened(forge.unary("Neg", FLOAT)) as engine:
        calls = [{"x": np.full((1, length), length, np.float32)} for length in (1, 2, 1, 2, 3)]
        results = await together(engine, *calls)
    assert [result.batch_rows for result in results] == [2, 2, 2, 2, 1]
    for call, result in zip(calls, results, strict=True):
        assert np.array_equal(result.outputs["y"], -call["x"])


async def test_calls_of_several_rows_are_joined_and_told_apart_on_a_thread_of_the_engine(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    run = OnnxModel.run

    def noting_the_thread(model: OnnxModel, *given: Any) -> dict[str, Tensor]:
        threads.append(threading.current_thread().name)
        return run(model, *given)

    monkeypatch.setattr(OnnxModel, "run", noting_the_thread)
    async with opened(forge.unary("Neg", FLOAT)) as engine:
        calls = [{"x": np.full((rows, 2), rows, np.float32)} for rows in (3, 1, 2)]
        results = await together(engine, *calls)
    for call, result in zip(calls, results, strict=True):
        assert np.array_equal(result.outputs["y"], -call["x"])
        assert result.batch_rows == 6
    assert all(name.startswith("onnx-m") for name in threads)


async def test_a_call_of_more_rows_than_a_batch_is_computed_in_parts(forge: Forge) -> None:
    async with opened(forge.unary("Neg", FLOAT), max_rows=4, max_queued_rows=4) as engine:
        x = np.arange(22, dtype=np.float32).reshape(11, 2)
        result = await infer(engine, x=x)
        assert np.array_equal(result.outputs["y"], -x)
        assert result.batch_rows == 4
        assert engine.load().batches == 3


async def test_only_who_is_at_fault_is_refused_and_no_value_is_told(
    forge: Forge, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async with opened(forge.pick()) as engine:
        calls = (infer(engine, x=np.array([x])) for x in (0, 777, 2))
        good, bad, also_good = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(good, InferResult) and isinstance(also_good, InferResult)
        assert (good.outputs["y"], also_good.outputs["y"]) == ([10], [30])
        assert isinstance(bad, InvalidArgument)
        assert (await infer(engine, x=np.array([1]))).outputs["y"] == [20]
    printed = capfd.readouterr()
    assert "777" not in bad.message + caplog.text + printed.out + printed.err


async def test_what_fails_inside_the_model_is_our_fault_and_not_the_next_calls(
    forge: Forge, capfd: pytest.CaptureFixture[str]
) -> None:
    shape = helper.make_tensor("shape", INT64, [2], [2, 3])
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    file = forge.model([node], {"x": (FLOAT, [None])}, {"y": (FLOAT, [2, 3])}, [shape])
    async with opened(file) as engine:
        with pytest.raises(Internal):
            await infer(engine, x=np.zeros(7, np.float32))
        assert (await infer(engine, x=np.zeros(6, np.float32))).outputs["y"].shape == (2, 3)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ({"ids": [[1, 2]], "mask": [[1, 1, 1]]}, "inputs.mask"),
        ({"ids": [[1]], "mask": [[1], [1]]}, "inputs.mask"),
        ({"ids": np.zeros((0, 1), np.int64), "mask": np.zeros((0, 1), np.int64)}, "inputs.ids"),
        ({"ids": [[1]]}, "inputs.mask"),
        ({"ids": [[1]], "mask": [[1]], "more": [[1]]}, "inputs.more"),
        ({"ids": [[1.5]], "mask": [[1]]}, "inputs.ids"),
    ],
)
async def test_a_wrong_input_is_named(forge: Forge, inputs: dict[str, Any], field: str) -> None:
    async with opened(forge.text()) as engine:
        with pytest.raises(InvalidArgument) as refused:
            await infer(engine, **{name: np.array(one) for name, one in inputs.items()})
    assert refused.value.field == field


async def test_bytes_that_are_not_utf8_are_refused(forge: Forge) -> None:
    async with opened(forge.unary("Identity", TensorProto.STRING)) as engine:
        with pytest.raises(InvalidArgument, match="UTF-8") as refused:
            await infer(engine, x=np.array([[b"\xff"]], dtype=object))
    assert refused.value.field == "inputs.x"


async def test_calls_that_want_other_outputs_join_and_get_only_theirs(forge: Forge) -> None:
    call = {"ids": np.array([[3, 4]]), "mask": np.array([[1, 0]])}
    async with opened(forge.text()) as engine:
        wishes = (["total"], ["ids_out"], None)
        results = await asyncio.gather(
            *(engine.infer(InferRequest(call, outputs=wish)) for wish in wishes)
        )
        with pytest.raises(InvalidArgument, match="no output 'nothing'"):
            await engine.infer(InferRequest(call, outputs=["nothing"]))
    assert [list(result.outputs) for result in results] == [
        ["total"],
        ["ids_out"],
        ["total", "ids_out"],
    ]
    assert {result.batch_rows for result in results} == {3}


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(lengths=st.lists(st.integers(1, 8), min_size=1, max_size=6))
def test_texts_of_any_length_share_few_shapes_and_get_their_own_length_back(
    forge: Forge, lengths: list[int]
) -> None:
    async def check() -> None:
        padding = {"ids": 9, "mask": 0}
        async with opened(forge.text(), length_buckets=(4, 8), padding=padding) as engine:
            calls = [
                {"ids": np.full((1, length), i + 1), "mask": np.ones((1, length), np.int64)}
                for i, length in enumerate(lengths)
            ]
            results = await together(engine, *calls)
            assert engine.load().batches <= 2
            with pytest.raises(InvalidArgument, match="takes up to 8"):
                await infer(engine, ids=np.ones((1, 9), int), mask=np.ones((1, 9), int))
            with pytest.raises(InvalidArgument, match="must have the same"):
                await infer(engine, ids=np.ones((1, 2), int), mask=np.ones((1, 3), int))
        for call, result in zip(calls, results, strict=True):
            assert np.array_equal(result.outputs["total"], call["ids"].sum(axis=1))
            assert np.array_equal(result.outputs["ids_out"], call["ids"])

    asyncio.run(check())


def external(location: str, folder: Path) -> onnx.GraphProto:
    """A graph whose weights are in another file."""
    (folder / "weights.bin").write_bytes(np.ones(2, np.float32).tobytes())
    weights = TensorProto(name="w", data_type=FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value=location)
    x = helper.make_tensor_value_info("x", FLOAT, ["rows", 2])
    y = helper.make_tensor_value_info("y", FLOAT, ["rows", 2])
    return helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weights])


@pytest.mark.parametrize("location", ["../weights.bin", "{folder}/weights.bin", "link.bin"])
async def test_weights_outside_the_models_folder_are_refused(
    forge: Forge, tmp_path: Path, location: str
) -> None:
    file = forge.save(external(location.format(folder=tmp_path), tmp_path))
    (Path(file).parent / "link.bin").symlink_to(tmp_path / "weights.bin")
    with pytest.raises(BadOnnxModel, match="External data path"):
        async with opened(file):
            pass


async def test_weights_in_the_models_folder_are_read(forge: Forge, tmp_path: Path) -> None:
    file = forge.save(external("weights.bin", tmp_path))
    (tmp_path / "weights.bin").rename(Path(file).parent / "weights.bin")
    async with opened(file) as engine:
        assert (await infer(engine, x=np.ones((1, 2), np.float32))).outputs["y"].sum() == 4


async def test_operators_of_a_library_are_refused(forge: Forge) -> None:
    node = helper.make_node("Mine", ["x"], ["y"], domain="my.library")
    file = forge.model([node], {"x": (FLOAT, ["rows"])}, {"y": (FLOAT, ["rows"])})
    with pytest.raises(BadOnnxModel, match="Mine"):
        async with opened(file):
            pass


async def test_outputs_that_are_no_tensors_are_refused_with_the_way_out(forge: Forge) -> None:
    x = helper.make_tensor_value_info("x", FLOAT, ["rows", 2])
    zipped = helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(FLOAT, []))
    y = helper.make_value_info("y", helper.make_sequence_type_proto(zipped))
    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    with pytest.raises(BadOnnxModel, match=r"'y' is seq\(map.*zipmap=False"):
        async with opened(forge.save(helper.make_graph([node], "g", [x], [y]))):
            pass
    y = helper.make_tensor_sequence_value_info("y", FLOAT, None)
    node = helper.make_node("SequenceConstruct", ["x"], ["y"])
    with pytest.raises(BadOnnxModel, match=r"'y' is seq\(tensor"):
        async with opened(forge.save(helper.make_graph([node], "g", [x], [y]))):
            pass


async def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(BadOnnxModel, match=r"model\.onnx: onnxruntime cannot load it"):
        async with opened(str(tmp_path)):
            pass


def test_the_model_of_a_folder_is_found(tmp_path: Path) -> None:
    with pytest.raises(BadOnnxModel, match=r"holds 0 \*\.onnx files"):
        model_file(str(tmp_path))
    (tmp_path / "a.onnx").touch()
    assert model_file(str(tmp_path)).name == "a.onnx"
    (tmp_path / "b.onnx").touch()
    with pytest.raises(BadOnnxModel, match=r"holds 2 \*\.onnx files"):
        model_file(str(tmp_path))
    (tmp_path / "model.onnx").touch()
    assert model_file(str(tmp_path)).name == "model.onnx"
    assert model_file(str(tmp_path / "b.onnx")).name == "b.onnx"
    with pytest.raises(BadOnnxModel, match="neither a file nor a folder"):
        model_file(str(tmp_path / "c.onnx"))


@pytest.mark.parametrize(
    ("wishes", "field"),
    [
        ({"provider": "npu"}, "provider"),
        ({"threads": -1}, "threads"),
        ({"instances": 0}, "instances"),
        ({"max_rows": 0}, "max_rows"),
        ({"max_rows": 8, "max_queued_rows": 4}, "max_queued_rows"),
        ({"max_delay_ms": -1}, "max_delay_ms"),
        ({"length_buckets": (8, 4), "padding": {"x": 0}}, "length_buckets"),
        ({"length_buckets": (8,)}, "padding"),
    ],
)
def test_a_wrong_setting_is_named(wishes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        OnnxSettings(**wishes)
    assert refused.value.field == field


async def test_padding_of_what_has_no_length_is_refused(forge: Forge) -> None:
    with pytest.raises(BadOnnxModel, match="padding names 'nothing'"):
        async with opened(forge.text(), length_buckets=(4,), padding={"nothing": 0}):
            pass


async def test_a_device_that_is_not_here_is_refused(forge: Forge) -> None:
    import onnxruntime

    if "TensorrtExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has TensorRT")
    with pytest.raises(InvalidArgument, match="onnxruntime-gpu") as refused:
        async with opened(forge.unary("Neg", FLOAT), provider="tensorrt"):
            pass
    assert refused.value.field == "provider"


async def test_memory_does_not_grow_with_the_shapes_that_come(forge: Forge) -> None:
    weights = helper.make_tensor("w", FLOAT, [64, 64], np.ones(64 * 64, np.float32))
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Transpose", ["h"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["h", "t"], ["y"]),
    ]
    x, y = (FLOAT, ["rows", "length", 64]), (FLOAT, ["rows", "length", "length"])
    process, numbers = psutil.Process(os.getpid()), np.random.default_rng(0)
    async with opened(forge.model(nodes, {"x": x}, {"y": y}, [weights])) as engine:

        async def ask(n_calls: int) -> None:
            for _ in range(n_calls // 4):
                shapes = numbers.integers(1, (4, 200), size=(4, 2))
                calls = ({"x": np.ones((*shape, 64), np.float32)} for shape in shapes)
                await together(engine, *calls)

        await ask(500)
        gc.collect()
        before = process.memory_info().rss
        await ask(2000)
        gc.collect()
        assert process.memory_info().rss - before < 30 * 2**20
