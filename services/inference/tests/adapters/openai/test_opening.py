"""From a verified folder to an engine on an upstream, or to what is wrong with the folder."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from weir_inference.adapters.engines.onnx.onnx_settings import OnnxSettings
from weir_inference.adapters.engines.openai.openai_settings import OpenAiSettings
from weir_inference.adapters.engines.torch.torch_engine import TorchSettings
from weir_inference.adapters.repository.bad_model_folder import BadModelFolder
from weir_inference.adapters.repository.folder import open_folder
from weir_inference.adapters.repository.folder_files import FolderLimits
from weir_inference.adapters.repository.in_thread import Stop
from weir_inference.adapters.repository.open_model import ModelOpener
from weir_inference.core.engine import Delta
from weir_inference.core.request import Request
from weir_inference.core.sampling import Sampling
from weir_kit.clock import SystemClock

MODEL: dict[str, Any] = {
    "task": "generation",
    "engine": "openai",
    "tokenizer": "tokenizer.json",
    "upstream": {"model": "big", "token_ids": True, "context_tokens": 64},
}


def opener(allow_private: bool) -> ModelOpener:
    settings = OpenAiSettings(allow_private=allow_private)
    return ModelOpener(TorchSettings(), OnnxSettings(), SystemClock(), settings)


def write_folder(folder: Path, tokenizer_file: Path, port: int, **changes: Any) -> Path:
    folder.mkdir()
    shutil.copy(tokenizer_file, folder / "tokenizer.json")
    url = f"http://127.0.0.1:{port}/v1"
    model = {**MODEL, "upstream": {**MODEL["upstream"], "url": url}, **changes}
    kept = {key: value for key, value in model.items() if value is not None}
    (folder / "model.yaml").write_text(yaml.safe_dump(kept))
    return folder


async def test_a_folder_that_names_an_upstream_generates(
    upstream: Any, tokenizer: Path, tmp_path: Path
) -> None:
    upstream.answers(upstream.tokens(9, reason="length"))
    folder = write_folder(tmp_path / "far", tokenizer, upstream.port)
    files = open_folder(folder, FolderLimits(), Stop())
    async with opener(allow_private=True).open("far", "1", files) as opened:
        assert opened.description.engine == "openai"
        assert opened.description.context_tokens == 64
        assert opened.engine is not None
        generation = opened.engine.submit(Request("a", (5, 6), 4, Sampling()))
        assert Delta((9,)) in [event async for event in generation.events()]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "upstream.url: the host 127.0.0.1 has an address that is private"),
        ({"tokenizer": None}, "tokenizer must name the upstream model's tokenizer"),
        ({"tokenizer": "bytes"}, "tokenizer must name the upstream model's tokenizer"),
        ({"task": "tensors"}, "the engine openai generates; it cannot do tensors"),
    ],
)
async def test_a_folder_that_cannot_be_served_is_told_why(
    tokenizer: Path, tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    files = open_folder(
        write_folder(tmp_path / "far", tokenizer, 9, **changes), FolderLimits(), Stop()
    )
    with pytest.raises(BadModelFolder, match=why):
        async with opener(allow_private=False).open("far", "1", files):
            pass
