"""The shipped folders, and sessions over their models."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from onnxruntime import InferenceSession, SessionOptions

MODELS = Path(__file__).parents[2] / "models"
ASSETS = Path(__file__).resolve().parents[5] / "shared" / "assets"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the training command runs; small models are quicker so, too."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture
def session() -> Callable[..., InferenceSession]:
    """A session over a shipped model, on one thread."""

    def start(name: str, file: str = "model.onnx") -> InferenceSession:
        options = SessionOptions()
        options.intra_op_num_threads = 1
        return InferenceSession(MODELS / name / "1" / file, options)

    return start


@pytest.fixture
def assets() -> Path:
    if not ASSETS.is_dir():
        pytest.skip("the real test data (../shared/assets beside the repository) is not here")
    return ASSETS
