"""Versions of the shared assets' models, put together as an operator would, over onnxruntime.

Weights stay where they are until a test asks for them; `folders/` holds what goes beside them.
"""

import json
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from weir_inference.adapters.repository.folder import ModelFiles, open_folder, pack_folder
from weir_inference.adapters.repository.folder_files import FolderLimits
from weir_inference.adapters.repository.in_thread import Stop
from weir_inference.adapters.tasks.open_task import open_task
from weir_inference.core.prediction import Prediction, PredictionInput, PredictionOptions
from weir_inference.core.tasks.task import Task as Pipeline
from weir_inference.core.tensors import ANY, Datatype, Tensors, TensorSpec

ASSETS = Path(__file__).resolve().parents[5] / "shared" / "assets"
FOLDERS = Path(__file__).parent / "folders"
WEIGHTS = {
    "magika": "magika-v3_3/model.onnx",
    "ultraface": "ultraface/version-RFB-320_simplified.onnx",
    "fastestdet": "fastestdet/FastestDet.onnx",
    "ppocr-direction": "ppocr/ch_ppocr_mobile_v2.0_cls_infer.onnx",
    "mnist": "mnist/mnist-8.onnx",
    "spam": "spam/lr-tfidf-baseline_c-locale.onnx",
    "silero-vad": "silero-vad/silero_vad_16k_op15.onnx",
    "super-resolution": "super-resolution/pytorch_super_resolution.onnx",
}
DATATYPES = {
    "tensor(float)": Datatype.FP32,
    "tensor(int32)": Datatype.INT32,
    "tensor(int64)": Datatype.INT64,
    "tensor(string)": Datatype.BYTES,
}


class Session:
    """A bare onnxruntime session with a `Signature`."""

    def __init__(self, file: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(file, options)
        self.inputs = tuple(map(_spec, self.session.get_inputs()))
        self.outputs = tuple(map(_spec, self.session.get_outputs()))

    async def __call__(self, inputs: Tensors, outputs: Collection[str]) -> Tensors:
        strings = {
            name: np.vectorize(bytes.decode, otypes=[object])(tensor)
            for name, tensor in inputs.items()
            if tensor.dtype == object
        }
        return dict(
            zip(outputs, self.session.run(list(outputs), {**inputs, **strings}), strict=True)
        )


class Served:
    """A version's task over its models."""

    def __init__(self, files: ModelFiles) -> None:
        names = {files.spec.ranker: files.spec.ranker, None: files.spec.file}
        self.models = {
            key: Session(files.folder / name) for key, name in names.items() if name is not None
        }
        ranker = self.models[files.spec.ranker] if files.spec.ranker else None
        self.task: Pipeline | None = open_task(files, self.models[None], ranker)

    async def __call__(
        self, inputs: Tensors, outputs: Collection[str], file: str | None = None
    ) -> Tensors:
        return await self.models[file](inputs, outputs)

    async def predict(self, asked: PredictionInput, **options: Any) -> list[Prediction]:
        assert self.task is not None
        return await self.task.predict(self, asked, PredictionOptions(**options))


@pytest.fixture(scope="session")
def assets() -> Path:
    """The shared assets; the test is skipped where they are not."""
    if not ASSETS.is_dir():
        pytest.skip("the shared assets are not here")
    return ASSETS


@pytest.fixture
def version(assets: Path, tmp_path: Path) -> Callable[[str], Path]:
    """`version("mnist")` → the folder `models/mnist/1` with all its files and SHA256SUMS."""

    def assemble(name: str) -> Path:
        folder = tmp_path / "models" / name / "1"
        shutil.copytree(FOLDERS / name, folder)
        weights = assets / "onnx" / WEIGHTS[name]
        shutil.copyfile(weights, folder / weights.name)
        if name == "magika":
            config = json.loads((weights.parent / "config.min.json").read_bytes())
            config["text_labels"] = (folder / "text_labels.txt").read_text().split()
            (folder / "config.min.json").write_text(json.dumps(config))
        pack_folder(folder, FolderLimits())
        return folder

    return assemble


@pytest.fixture
def serve_files() -> Callable[[ModelFiles], Served]:
    return Served


@pytest.fixture
def served(version: Callable[[str], Path]) -> Callable[[str], Served]:
    """`served("mnist")` → its task over its model."""

    def serve(name: str) -> Served:
        return Served(open_folder(version(name), FolderLimits(), Stop()))

    return serve


def _spec(node: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else ANY for size in node.shape)
    return TensorSpec(node.name, DATATYPES[node.type], shape)
