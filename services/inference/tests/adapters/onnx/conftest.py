"""ONNX models: real ones beside the repository, and small ones made here."""

from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

Shape = Sequence[int | str | None]


class Forge:
    """Makes small models, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._n_made = 0

    def save(self, graph: onnx.GraphProto) -> str:
        """The file of a model."""
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        self._n_made += 1
        file = self.folder / str(self._n_made) / "model.onnx"
        file.parent.mkdir()
        file.write_bytes(model.SerializeToString())
        return str(file)

    def model(
        self,
        nodes: Sequence[onnx.NodeProto],
        inputs: dict[str, tuple[int, Shape]],
        outputs: dict[str, tuple[int, Shape | None]],
        initializers: Sequence[onnx.TensorProto] = (),
    ) -> str:
        """Of inputs and outputs the element type and the shape, by name."""
        given = [helper.make_tensor_value_info(name, *one) for name, one in inputs.items()]
        made = [helper.make_tensor_value_info(name, *one) for name, one in outputs.items()]
        return self.save(helper.make_graph(nodes, "small", given, made, initializers))

    def unary(self, operator: str, element: int, shape: Shape = ("rows", None)) -> str:
        """Makes `y` of `x`, both of that element and shape."""
        node = helper.make_node(operator, ["x"], ["y"])
        return self.model([node], {"x": (element, shape)}, {"y": (element, shape)})

    def pick(self) -> str:
        """`y` is the entry of 10, 20, 30 that `x` says; it fails beyond them."""
        table = helper.make_tensor("table", TensorProto.FLOAT, [3], [10, 20, 30])
        node = helper.make_node("Gather", ["table", "x"], ["y"])
        x, y = (TensorProto.INT64, ["rows"]), (TensorProto.FLOAT, ["rows"])
        return self.model([node], {"x": x}, {"y": y}, [table])

    def text(self) -> str:
        """Sums ids where the mask is 1: `total` of each row, `ids_out` of each token."""
        nodes = [
            helper.make_node("Mul", ["ids", "mask"], ["ids_out"]),
            helper.make_node("ReduceSum", ["ids_out", "axis"], ["total"], keepdims=0),
        ]
        axis = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
        tokens = (TensorProto.INT64, ["rows", "length"])
        total = (TensorProto.INT64, ["rows"])
        outputs = {"total": total, "ids_out": tokens}
        return self.model(nodes, {"ids": tokens, "mask": tokens}, outputs, [axis])


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return Forge(tmp_path)


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real test data beside the repository; without it the test is skipped."""
    for parent in Path(__file__).resolve().parents:
        if (parent / "pyproject.toml").is_file() and (parent / "protos").is_dir():
            folder = parent.parent / "shared" / "assets"
            if (folder / "onnx").is_dir():
                return folder
    pytest.skip("the real ONNX models (../shared/assets/onnx beside the repository) are not here")
