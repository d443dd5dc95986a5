"""From a trained module to the folder that the inference service loads."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from string import Template

import numpy as np
import onnx
import onnxruntime
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor, nn

from weir_inference.training.scores import Score

OPSET = 18
TOLERANCE = 1e-5
CHECKSUMS = "SHA256SUMS"
CARDS = Path(__file__).parent / "cards"


@dataclass(frozen=True)
class Shipped:
    """What a model's folder says about it, beside the weights."""

    name: str
    task: str
    preprocess: dict[str, object]
    scores: dict[str, Score]
    card: dict[str, str]  # what the card's $names stand for
    labels: list[str] = field(default_factory=list)
    tokenizer: str | None = None
    more: dict[str, str] = field(default_factory=dict)  # further keys of model.yaml
    licence: str = "Apache-2.0"


def export_onnx(
    model: nn.Module,
    examples: dict[str, Tensor],
    axes: dict[str, dict[int, str]],
    file: Path,
) -> None:
    """Write `model` as ONNX and check it against torch, on the examples and on their first row.

    `examples` are the inputs, of two rows or more; `axes` names, for inputs and outputs in order,
    the axes whose size may vary. Raises AssertionError where the two differ by more than TOLERANCE.
    """
    model.eval()
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        model,
        tuple(examples.values()),
        file,
        input_names=list(examples),
        output_names=[name for name in axes if name not in examples],
        opset_version=OPSET,
        dynamic_axes=axes,
        dynamo=False,  # the exporter by torch.export unrolls recurrent layers
    )
    onnx.checker.check_model(onnx.load(file), full_check=True)
    assert_same(model, file, examples)
    assert_same(model, file, {name: tensor[:1] for name, tensor in examples.items()})


def assert_same(model: nn.Module, file: Path, inputs: dict[str, Tensor]) -> None:
    """Torch and onnxruntime agree on these inputs."""
    with torch.inference_mode():
        expected = model(*inputs.values())
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    got = onnxruntime.InferenceSession(file).run(None, arrays)
    expected = [expected] if isinstance(expected, Tensor) else list(expected)
    for ours, theirs in zip(expected, got, strict=True):
        difference = largest_difference(ours.numpy(), theirs)
        assert difference <= TOLERANCE, f"{file.name}: torch and ONNX differ by {difference:.1e}"


def largest_difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(np.abs(a - b).max())


def ship(folder: Path, shipped: Shipped) -> None:
    """Write everything but the weights: model.yaml, labels.txt, scores.json, card, checksums."""
    described: dict[str, object] = {
        "task": shipped.task,
        "engine": "onnx",
        "file": "model.onnx",
    }
    if shipped.labels:
        described["labels"] = "labels.txt"
        write(folder / "labels.txt", "".join(f"{label}\n" for label in shipped.labels))
    if shipped.tokenizer:
        described["tokenizer"] = shipped.tokenizer
    described |= shipped.more
    if shipped.preprocess:
        described["preprocess"] = shipped.preprocess
    if shipped.labels:
        described["postprocess"] = {"activation": "softmax"}
    described["batching"] = {"max_rows": 32, "max_delay_ms": 1.0}
    described["card"] = "MODEL_CARD.md"
    described["licence"] = shipped.licence
    write(folder / "model.yaml", yaml.safe_dump(described, sort_keys=False))
    scores = {name: asdict(score) for name, score in shipped.scores.items()}
    write(folder / "scores.json", json.dumps(scores, indent=2) + "\n")
    write(folder / "MODEL_CARD.md", card(shipped))
    for name, score in shipped.scores.items():
        print(f"{name}: {score}", flush=True)
    write(folder / CHECKSUMS, checksums(folder))


def card(shipped: Shipped) -> str:
    """The card of cards/NAME.md, with $scores as a table."""
    rows = [f"| {name} | {score} | {score.n:,} |" for name, score in shipped.scores.items()]
    table = "\n".join(["| score | mean (95 % interval) | cases |", "|---|---|---|", *rows])
    template = Template((CARDS / f"{shipped.name}.md").read_text(encoding="utf-8"))
    return template.substitute(shipped.card, scores=table)


def checksums(folder: Path) -> str:
    """One line a file in the format of sha256sum, sorted by name."""
    files = sorted(f for f in folder.iterdir() if f.is_file() and f.name != CHECKSUMS)
    return "".join(f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in files)


def write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
