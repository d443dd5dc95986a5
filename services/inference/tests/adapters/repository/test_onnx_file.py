"""ONNX files tell their tensors; custom operators and data outside the folder are refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from weir_inference.adapters.repository.bad_model_folder import BadModelFolder, UnsafeFile
from weir_inference.adapters.repository.onnx_file import OnnxFacts, read_onnx
from weir_inference.core.tensors import Datatype, TensorSpec

ASSETS = Path("/work/shared/assets/onnx")
FLOAT = TensorProto.FLOAT


def graph_of(nodes: list[NodeProto], tensors: list[TensorProto] | None = None) -> GraphProto:
    value = helper.make_tensor_value_info
    return helper.make_graph(
        nodes, "g", [value("x", FLOAT, ["n", 4])], [value("y", FLOAT, None)], tensors or []
    )


def model_of(nodes: list[NodeProto], tensors: list[TensorProto] | None = None) -> ModelProto:
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph_of(nodes, tensors), opset_imports=opsets)


def external(location: str, **said: str) -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **said}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def inside_an_if(node: NodeProto) -> NodeProto:
    inner = helper.make_graph([node], "then", [], [helper.make_tensor_value_info("y", FLOAT, None)])
    return helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., OnnxFacts]:
    """`read(model)` → what it says, in a folder with 16 bytes of data beside it."""

    def read_it(model: ModelProto) -> OnnxFacts:
        (tmp_path / "net").mkdir()
        (tmp_path / "net/m.onnx").write_bytes(model.SerializeToString())
        sizes = {"net/m.onnx": model.ByteSize(), "net/m.onnx_data": 16, "net/m.txt": 16}
        return read_onnx(tmp_path, "net/m.onnx", sizes)

    return read_it


ADD = helper.make_node("Add", ["x", "w"], ["y"])
CUSTOM = helper.make_node("Run", ["x"], ["y"], domain="com.example")


def test_inputs_outputs_and_external_data_are_told(read: Callable[..., OnnxFacts]) -> None:
    facts = read(model_of([ADD], [external("m.onnx_data", offset="4", length="12")]))
    assert facts.inputs == (TensorSpec("x", Datatype.FP32, (-1, 4)),)
    assert (facts.outputs, facts.unshaped) == ((), {"y"})
    assert facts.external == {"net/m.onnx_data"}


@pytest.mark.parametrize("nodes", [[CUSTOM], [inside_an_if(inside_an_if(CUSTOM))]])
def test_a_custom_operator_is_refused_wherever_it_stands(
    read: Callable[..., OnnxFacts], nodes: list[NodeProto]
) -> None:
    with pytest.raises(UnsafeFile, match=r"net/m\.onnx: the operator com\.example\.Run is of a"):
        read(model_of(nodes))


def test_an_operator_that_the_model_defines_itself_is_no_custom_one(
    read: Callable[..., OnnxFacts],
) -> None:
    model = model_of([CUSTOM])
    body = [helper.make_node("Neg", ["a"], ["b"])]
    opsets = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("com.example", "Run", ["a"], ["b"], body, opsets))
    read(model)


def test_a_custom_operator_inside_a_function_is_refused(read: Callable[..., OnnxFacts]) -> None:
    model = model_of([helper.make_node("Mine", ["x"], ["y"], domain="own")])
    body = [helper.make_node("Run", ["a"], ["b"], domain="com.example")]
    opsets = [helper.make_opsetid("com.example", 1)]
    model.functions.append(helper.make_function("own", "Mine", ["a"], ["b"], body, opsets))
    with pytest.raises(UnsafeFile, match=r"com\.example\.Run"):
        read(model)


def test_an_operator_that_loads_files_of_its_own_is_refused(
    read: Callable[..., OnnxFacts],
) -> None:
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", embed_mode=0)
    with pytest.raises(UnsafeFile, match="EPContext"):
        read(model_of([node]))


def as_constant(tensor: TensorProto) -> ModelProto:
    return model_of([helper.make_node("Constant", [], ["w"], value=tensor), ADD])


def as_initializer(tensor: TensorProto) -> ModelProto:
    return model_of([ADD], [tensor])


def as_sparse(tensor: TensorProto) -> ModelProto:
    model = model_of([ADD])
    model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    return model


@pytest.mark.parametrize("put", [as_initializer, as_constant, as_sparse])
@pytest.mark.parametrize(
    ("location", "said", "told"),
    [
        ("../m.onnx_data", {}, "location's name leads outside"),
        ("/etc/passwd", {}, "location's name is absolute"),
        ("", {}, "location's name has a part that is empty"),
        ("gone.onnx_data", {}, "external data gone.onnx_data is missing"),
        ("m.txt", {}, "external data m.txt must end in .onnx_data or .data"),
        ("m.onnx_data", {"offset": "8", "length": "9"}, "lies outside its external data"),
        ("m.onnx_data", {"offset": "-1"}, "lies outside its external data"),
        ("m.onnx_data", {"offset": "1e3"}, "offset or length is no number"),
    ],
)
def test_external_data_outside_the_folder_or_the_file_is_refused(
    read: Callable[..., OnnxFacts],
    put: Callable[[TensorProto], ModelProto],
    location: str,
    said: dict[str, str],
    told: str,
) -> None:
    with pytest.raises(BadModelFolder, match=told):
        read(put(external(location, **said)))


@pytest.mark.parametrize("data", [b"", b"not a model", bytes(100), b"\x08\x08"])
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(BadModelFolder, match=r"m\.onnx: is not an? "):
        read_onnx(tmp_path, "m.onnx", {"m.onnx": len(data)})


def test_an_initializer_that_is_listed_as_input_is_none(read: Callable[..., OnnxFacts]) -> None:
    weight = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    model = model_of([ADD], [weight])
    model.graph.input.append(helper.make_tensor_value_info("w", FLOAT, [4]))
    assert [spec.name for spec in read(model).inputs] == ["x"]


@pytest.mark.skipif(not ASSETS.is_dir(), reason="no assets here")
def test_real_models_are_accepted() -> None:
    models = sorted(ASSETS.rglob("*.onnx"))
    assert models
    for path in models:
        facts = read_onnx(path.parent, path.name, {path.name: path.stat().st_size})
        session = onnx.load(path, load_external_data=False).graph
        assert {spec.name for spec in facts.outputs} | facts.unshaped >= {session.output[0].name}
