"""ListModels tells what was loaded."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

from weir_contracts.inference.v1 import inference_pb2 as pb

OpenBench = Any


async def test_models_are_listed_by_name_with_what_they_are(
    open_bench: OpenBench, tiny_model: Path
) -> None:
    async with open_bench(WEIR_MODELS=f"zeta={tiny_model},alpha={tiny_model}") as bench:
        answer = await bench.models.ListModels(pb.ListModelsRequest(), timeout=10)
    assert [model.name for model in answer.models] == ["alpha", "zeta"]
    model = answer.models[0]
    assert abs(model.loaded_at_s - time.time()) < 60
    assert (model.engine, model.architecture, model.dtype) == ("torch", "llama", "fp32")
    assert (model.context_tokens, model.vocab_size) == (4096, 64)
    assert model.parameters == 64 * 32 + 2 * (32 * (32 + 16 + 16 + 32) + 3 * 32 * 64 + 2 * 32) + 32


async def test_a_small_cache_shortens_the_context_that_is_served(
    open_bench: OpenBench, tiny_model: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_model, tmp_path / "long")
    config = json.loads((tiny_model / "config.json").read_text())
    config["max_position_embeddings"] = 8192
    (tmp_path / "long" / "config.json").write_text(json.dumps(config))
    settings = {
        "WEIR_MODELS": f"long={tmp_path / 'long'}",
        "WEIR_INFERENCE_KV_MB": "1",
        "WEIR_INFERENCE_DTYPE": "fp32",
        "WEIR_INFERENCE_KERNELS": "torch",
    }
    async with open_bench(**settings) as bench:
        (model,) = (await bench.models.ListModels(pb.ListModelsRequest(), timeout=10)).models
    # 2 layers · (keys and values) · 2 heads · 8 numbers · 4 bytes = 256 bytes a token
    assert model.context_tokens == 2**20 // 256


async def test_weights_can_be_served_in_another_number_format(open_bench: OpenBench) -> None:
    async with open_bench(WEIR_INFERENCE_DTYPE="bf16") as bench:
        (model,) = (await bench.models.ListModels(pb.ListModelsRequest(), timeout=10)).models
    assert model.dtype == "bf16"
