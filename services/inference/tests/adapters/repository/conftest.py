"""A small whole version with weights of every allowed kind."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from weir_inference.adapters.repository.folder import pack_folder
from weir_inference.adapters.repository.folder_files import FolderLimits
from weir_inference.adapters.repository.model_cache import ModelCache
from weir_kit.clock import ManualClock

MODEL_YAML = """\
task: tensors
engine: onnx
file: net/model.onnx
inputs:
  - {name: x, datatype: FP32, shape: [-1, 4]}
labels: labels.txt
"""


def add_model() -> onnx.ModelProto:
    """y = x + w, of four numbers a row."""
    weight = numpy_helper.from_array(np.arange(4, dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "add",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 4])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def write_version(folder: Path) -> Path:
    """`folder`, filled; without a manifest."""
    (folder / "net").mkdir(parents=True)
    onnx.save(
        add_model(),
        folder / "net/model.onnx",
        save_as_external_data=True,
        location="model.onnx_data",
        size_threshold=0,
    )
    save_file({"a": np.ones((2, 3), np.float32)}, folder / "more.safetensors")
    (folder / "model.yaml").write_text(MODEL_YAML)
    (folder / "MODEL_CARD.md").write_text("# Adds\n")
    (folder / "labels.txt").write_text("cat\ndog\n")
    (folder / "config.json").write_text(json.dumps({"model_type": "add", "sizes": [4]}))
    return folder


@pytest.fixture(scope="session")
def copy_version(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`copy_version(folder)` → the folder, filled; with its manifest unless `packed=False`."""
    plain = write_version(tmp_path_factory.mktemp("version") / "plain")
    packed = shutil.copytree(plain, plain.with_name("packed"))
    pack_folder(packed, FolderLimits())

    def copy(folder: Path, *, packed: bool = True) -> Path:
        return shutil.copytree(plain.with_name("packed" if packed else "plain"), folder)

    return copy


@pytest.fixture
def plain(tmp_path: Path, copy_version: Callable[..., Path]) -> Path:
    """A version without a manifest."""
    return copy_version(tmp_path / "plain", packed=False)


@pytest.fixture
def packed(tmp_path: Path, copy_version: Callable[..., Path]) -> Path:
    """A version with its manifest."""
    return copy_version(tmp_path / "packed")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def open_cache(tmp_path: Path, clock: ManualClock) -> Callable[..., ModelCache]:
    """`open_cache(1000)` → a cache of so many bytes; each call is like another process's."""

    def open_it(bytes_max: int = 1 << 20, free_bytes_min: int = 0) -> ModelCache:
        return ModelCache(tmp_path / "cache", bytes_max, clock, free_bytes_min)

    return open_it
