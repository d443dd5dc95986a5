"""A LoRA adapter, by the command line into the running stack and out again."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from safetensors.numpy import save_file

INPUT_NANOS, OUTPUT_NANOS = 500, 1500
PROMPT = "Once upon a time, there was a little river."
RANK = 4


def save_adapter(folder: Path, model: dict[str, Any]) -> None:
    """As PEFT writes it: random, and strong enough to be seen in the text."""
    folder.mkdir()
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 16, "target_modules": ["o_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    width, n_heads = model["hidden_size"], model["num_attention_heads"]
    n_in = n_heads * model.get("head_dim", width // n_heads)
    random, tensors = np.random.default_rng(1), {}
    for layer in range(model["num_hidden_layers"]):
        name = f"base_model.model.model.layers.{layer}.self_attn.o_proj.lora"
        for letter, shape in (("A", (RANK, n_in)), ("B", (width, RANK))):
            weights = random.standard_normal(shape).astype(np.float32) * 0.05
            tensors[f"{name}_{letter}.weight"] = weights
    save_file(tensors, folder / "adapter_model.safetensors")


@pytest.fixture
def folder(tmp_path: Path, model_folder: Path) -> Path:
    save_adapter(tmp_path / "adapter", json.loads((model_folder / "config.json").read_text()))
    return tmp_path / "adapter"


@pytest.fixture
def model_folder() -> Path:
    return Path(__file__).parents[2] / "services" / "inference" / "models" / "weir-tales"


@pytest.fixture
def loaded(stack: Any, folder: Path) -> Iterator[dict[str, Any]]:
    """An adapter while the test runs."""
    if stack.model != "weir-tales":
        pytest.skip("the adapter is made for weir-tales")
    yield stack.weir_json("adapters", "load", "tuned", str(folder))
    stack.weir("adapters", "unload", "tuned")


def ask(stack: Any, model: str, **more: Any) -> Any:
    body = stack.body(PROMPT, temperature=0, **more)
    return stack.openai().chat.completions.create(**{**body, "model": model})


def test_an_adapter_answers_by_its_name_and_is_billed(stack: Any, loaded: dict[str, Any]) -> None:
    assert (loaded["name"], loaded["base_model"]) == ("tuned", stack.model)
    assert [one["name"] for one in stack.weir_json("adapters", "list")] == ["tuned"]
    assert stack.model in stack.weir("adapters", "list").stdout
    assert {one["name"] for one in stack.weir_json("models")} >= {stack.model, "tuned"}
    plain, tuned = ask(stack, stack.model), ask(stack, "tuned", logprobs=True)
    assert tuned.choices[0].message.content
    assert tuned.choices[0].message.content != plain.choices[0].message.content
    usage, cost = tuned.usage, tuned.model_extra["weir"]["cost_nanos"]
    assert usage.prompt_tokens == plain.usage.prompt_tokens
    assert cost == usage.prompt_tokens * INPUT_NANOS + usage.completion_tokens * OUTPUT_NANOS
    entries = stack.weir_json("billing", "statement", "--request-id", tuned.id)
    assert [e["amount_nanos"] for e in entries if e["account"] == "revenue:tuned"] == [cost]
    assert "tuned" in {model.id for model in stack.openai().models.list()}
    said = stack.weir_json("chat", PROMPT, "--model", "tuned", "--max-tokens", "4")
    assert said["usage"]["output_tokens"] <= 4


def test_an_adapter_is_explained_by_its_name(stack: Any, loaded: dict[str, Any]) -> None:
    found = stack.weir_json("explain", PROMPT, "--model", loaded["name"], "--max-tokens", "4")
    plain = stack.weir_json("explain", PROMPT, "--max-tokens", "4")
    assert found["text"] == ask(stack, loaded["name"], max_tokens=4).choices[0].message.content
    assert found["attributions"] != plain["attributions"]


def test_an_unloaded_adapter_answers_no_more(stack: Any, loaded: dict[str, Any]) -> None:
    ask(stack, "tuned", max_tokens=1)
    assert stack.weir_json("adapters", "unload", "tuned") == {"name": "tuned"}
    assert stack.weir_json("adapters", "list") == []
    with pytest.raises(openai.NotFoundError):
        ask(stack, "tuned")


def test_an_adapter_that_cannot_be_loaded_is_one_clear_line(
    stack: Any, folder: Path, tmp_path: Path
) -> None:
    model = stack.model
    for arguments, said in (
        (("load", "x", str(tmp_path)), "no adapter_config.json: not a PEFT adapter's folder"),
        (("load", "x", "/nowhere"), "/nowhere is neither a folder here nor a hub id"),
        (("load", "x", str(folder), "--model", "gpt-4o"), "no model 'gpt-4o'"),
        (("load", model, str(folder)), f"the name '{model}' is taken"),
        (("load", "a b", str(folder)), "a name is 1 to 128"),
        (("unload", model), f"'{model}' is a model, not an adapter"),
        (("unload", "gone"), "no model 'gone'"),
    ):
        done = stack.weir("adapters", *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr and done.stderr.count("\n") == 1
    (folder / "adapter_model.safetensors").write_bytes(b"no tensors")
    done = stack.weir("adapters", "load", "x", str(folder))
    assert done.returncode == 1 and "safetensors" in done.stderr
    assert stack.weir_json("adapters", "list") == []
