"""Reads `model.yaml`; for folders without one, infers the spec of a Hugging Face model."""

import math
from collections.abc import Collection, Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from weir_inference.adapters.repository.bad_model_folder import BadModelFolder
from weir_inference.adapters.repository.verify import VerifiedFolder
from weir_inference.core.model_signature import check_signature
from weir_inference.core.model_spec import EngineKind, ModelSpec, model_spec
from weir_inference.core.processing import Task
from weir_inference.core.tensors import TensorSpec
from weir_kit.errors import InvalidArgument

MODEL_YAML = "model.yaml"
YAML_BYTES_MAX = 256 << 10
MIB = 1 << 20


class PlainLoader(yaml.SafeLoader):
    """YAML without anchors (a small text could stand for a huge one) and without double keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases (*) are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        found = super().construct_mapping(node, deep=deep)
        if len(found) != len(node.value):
            mark = node.start_mark
            raise yaml.MarkedYAMLError(problem="a key stands twice", problem_mark=mark)
        return found


def read_spec(folder: Path, verified: VerifiedFolder) -> ModelSpec:
    """The spec of a folder, which fits its files.

    Without `memory_mb`, that is the size of the weights. Raises `BadModelFolder`.
    """
    if MODEL_YAML in verified.sizes:
        try:
            spec = model_spec(read_yaml(folder / MODEL_YAML))
            _check_fit(spec, verified)
        except InvalidArgument as error:
            raise BadModelFolder(error.message) from error
    else:
        spec = _inferred(verified.sizes)
    if spec.memory_mb is None:
        spec = replace(spec, memory_mb=max(1, math.ceil(verified.weight_bytes / MIB)))
    return spec


def read_yaml(path: Path) -> object:
    """The document of a file. Raises `BadModelFolder` naming the line."""
    try:
        with path.open("rb") as file:
            data = file.read(YAML_BYTES_MAX + 1)
        if len(data) > YAML_BYTES_MAX:
            raise BadModelFolder(f"is larger than {YAML_BYTES_MAX} bytes", path.name)
        return yaml.load(data, PlainLoader)  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise BadModelFolder(f"{line}{error.problem or 'not YAML'}", path.name) from error
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        raise BadModelFolder("is not readable YAML", path.name) from error


def _check_fit(spec: ModelSpec, verified: VerifiedFolder) -> None:
    for key, name in spec.named_files.items():
        if name not in verified.sizes:
            raise BadModelFolder(f"model.yaml: {key} names {name}, which the folder has not")
    facts = verified.onnx.get(spec.file or "")
    if facts is None:
        return
    for key, wanted, found in (
        ("inputs", spec.inputs, facts.inputs),
        ("outputs", spec.outputs, facts.outputs),
    ):
        if wanted:
            check_signature(key, _said(wanted, facts.unshaped), found)


def _said(tensors: Collection[TensorSpec], unshaped: Collection[str]) -> list[TensorSpec]:
    return [tensor for tensor in tensors if tensor.name not in unshaped]


def _inferred(names: Collection[str]) -> ModelSpec:
    """Of a plain Hugging Face folder: a model that generates text."""
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        raise BadModelFolder(
            f"the folder has no {MODEL_YAML}, and is no Hugging Face model with config.json and "
            "safetensors either"
        )
    tokenizer = "tokenizer.json" if "tokenizer.json" in names else None
    return ModelSpec(Task.GENERATION, EngineKind.TORCH, tokenizer=tokenizer)
