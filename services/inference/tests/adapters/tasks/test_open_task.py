"""A pipeline is built where spec, files and tensors fit; else it is said what does not."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models

from weir_inference.adapters.repository.bad_model_folder import BadModelFolder
from weir_inference.adapters.repository.folder import ModelFiles
from weir_inference.adapters.tasks.open_task import open_task
from weir_inference.core.model_spec import model_spec
from weir_inference.core.prediction import Pictures, RerankQuery, Texts, Users
from weir_inference.core.tasks.classify import Classify
from weir_inference.core.tasks.detect import Detect
from weir_inference.core.tasks.embed import Embed
from weir_inference.core.tasks.ocr import Direction, Read
from weir_inference.core.tasks.recommend import Recommend
from weir_inference.core.tasks.rerank import Rerank
from weir_inference.core.tasks.token_classify import TokenClassify
from weir_inference.core.tensors import ANY, Datatype, TensorSpec


@dataclass(frozen=True)
class Signed:
    """A `Signature`."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


Version = tuple[str, Signed, dict[str, Any]]  # task, model, the rest of the spec

TEXT = {"input_ids": (ANY, ANY), "attention_mask": (ANY, ANY)}
STRING = {"s": (Datatype.BYTES, ANY, 1)}
IMAGE = {"x": (ANY, 3, 8, 8)}
HISTORY = {"history": (ANY, ANY)}
TOWERS = {"query": (ANY, 4), "scores": (ANY, 2), "item_embeddings": (2, 4)}

AB: dict[str, Any] = {"labels": ["a", "b"]}
FILE: dict[str, Any] = {"tokenizer": "tokenizer.json"}
ITEMS: dict[str, Any] = {"items": "items.jsonl"}
YOLO: dict[str, Any] = {"postprocess": {"decoder": "yolo"}}
FASTESTDET: dict[str, Any] = {"postprocess": {"decoder": "fastestdet"}}
ULTRAFACE: dict[str, Any] = {"postprocess": {"decoder": "ultraface"}}


def signed(inputs: dict[str, Any], outputs: dict[str, Any]) -> Signed:
    """Of shapes by name: fp32, or int64 for tokens and items, or what stands before the shape."""

    def spec(name: str, shape: Any) -> TensorSpec:
        whole = name in ("input_ids", "attention_mask", "history", "candidates")
        if isinstance(shape[0], Datatype):
            return TensorSpec(name, shape[0], tuple(shape[1:]))
        return TensorSpec(name, Datatype.INT64 if whole else Datatype.FP32, tuple(shape))

    return Signed(*(tuple(spec(*one) for one in some.items()) for some in (inputs, outputs)))


RANKER = signed({"query": (ANY, 4), "candidates": (ANY, ANY), **HISTORY}, {"scores": (ANY, ANY)})


def text(
    outputs: Any, inputs: Any = TEXT, task: str = "text-classification", **spec: Any
) -> Version:
    return task, signed(inputs, outputs), spec


def pictures(
    outputs: Any, inputs: Any = IMAGE, task: str = "image-classification", **spec: Any
) -> Version:
    return task, signed(inputs, outputs), spec


def films(outputs: Any, inputs: Any = HISTORY, **spec: Any) -> Version:
    return "recommendation", signed(inputs, outputs), spec


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """All the files that a spec may name."""
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "labels.txt").write_text("a\nb\n")
    (tmp_path / "charset.txt").write_text("x\n \ny\n")
    (tmp_path / "bad.txt").write_text("a\n\nb\n")
    items = [{"id": "1", "title": "One"}, {"id": "2"}]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in items))
    (tmp_path / "bad.jsonl").write_text('{"id": "1"}\n{"id": 2}\n')
    return tmp_path


def opened(folder: Path, version: Version, ranker: Signed | None = None) -> Any:
    task, model, spec = version
    files = ModelFiles(folder, model_spec({"task": task, "engine": "onnx", **spec}), "")
    return open_task(files, model, ranker)


@pytest.mark.parametrize(
    ("version", "kind", "takes"),
    [
        (text({"y": (ANY, 2)}, **AB, **FILE), Classify, (Texts,)),
        (text({"y": (ANY, 1)}, **AB, tokenizer="bytes"), Classify, (Texts,)),
        (text({"y": (ANY, 2)}, STRING, **AB), Classify, (Texts,)),
        (
            text({"y": (ANY, ANY)}, TEXT, "language-id", labels="labels.txt", **FILE),
            Classify,
            (Texts,),
        ),
        (
            text({"y": (ANY, ANY, 2)}, TEXT, "token-classification", **AB, **FILE),
            TokenClassify,
            (Texts,),
        ),
        (text({"y": (ANY, ANY, 9)}, TEXT, "embedding", **FILE), Embed, (Texts, RerankQuery)),
        (text({"y": (ANY, 1)}, TEXT, "rerank", **FILE), Rerank, (RerankQuery,)),
        (pictures({"y": (ANY, 2)}, **AB), Classify, (Pictures,)),
        (pictures({"y": (1, 6, 99)}, IMAGE, "object-detection", **AB, **YOLO), Detect, (Pictures,)),
        (pictures({"y": (ANY, 2)}, IMAGE, "ocr", labels=["0", "180"]), Direction, (Pictures,)),
        (pictures({"y": (ANY, 9, 4)}, IMAGE, "ocr", labels="charset.txt"), Read, (Pictures,)),
        (films(TOWERS, **ITEMS), Recommend, (Users,)),
    ],
)
def test_each_task_is_built(folder: Path, version: Version, kind: type, takes: Any) -> None:
    built = opened(folder, version)
    assert isinstance(built, kind)
    assert built.kinds == takes  # type: ignore[attr-defined]


def test_tasks_of_tensors_and_of_generation_have_no_pipeline(folder: Path) -> None:
    assert opened(folder, pictures({}, IMAGE, "tensors")) is None
    assert opened(folder, pictures({}, IMAGE, "generation")) is None


def test_a_space_is_a_character_and_the_lines_keep_their_order(folder: Path) -> None:
    built = opened(folder, pictures({"y": (ANY, 9, 4)}, IMAGE, "ocr", labels="charset.txt"))
    assert built.characters == ["x", " ", "y"]


def test_the_floating_output_that_fits_is_read(folder: Path) -> None:
    outputs = {"label": (Datatype.INT64, ANY, 2), "wide": (ANY, 7), "fits": (ANY, 2)}
    assert opened(folder, pictures(outputs, **AB)).output == "fits"


FAULTS = {
    r"numbers \[rows, 2\].* y \[-1, 3\]": text({"y": (ANY, 3)}, **AB, **FILE),
    "labels must be given": text({"y": (ANY, 2)}, **FILE),
    r"bad\.txt: must hold": text({"y": (ANY, 2)}, labels="bad.txt", **FILE),
    "tokenizer must name": text({"y": (ANY, 2)}, **AB),
    "an input input_ids": text({"y": (ANY, 2)}, {"ids": (ANY, ANY)}, **AB, **FILE),
    "input x is none of": text({"y": (ANY, 2)}, TEXT | IMAGE, **AB, **FILE),
    r"input_ids must be .* \[rows, tokens\]": text(
        {"y": (ANY, 2)}, {"input_ids": (ANY,)}, **AB, **FILE
    ),
    r"\[rows, 1\] to take strings": text({"y": (ANY, 2)}, {"s": (Datatype.BYTES, 1, 3)}, **AB),
    r"\[rows, tokens, labels\]": text({"y": (ANY, 2)}, TEXT, "token-classification", **AB, **FILE),
    r"\[rows, tokens, dimensions\]": text(
        {"y": (ANY, 9)}, TEXT, "embedding", postprocess={"pooling": "mean"}, **FILE
    ),
    r"\[rows, dimensions\]": text(
        {"y": (ANY, ANY, 9)}, TEXT, "embedding", postprocess={"pooling": "none"}, **FILE
    ),
    r"or \[rows, 2\]": text({"y": (ANY, 5)}, TEXT, "rerank", **FILE),
    "cannot join": text({"y": (ANY, 1)}, TEXT, "rerank", tokenizer="bytes"),
    "size must be given": pictures({"y": (ANY, 2)}, {"x": (ANY, 3, ANY, ANY)}, **AB),
    "does not fit the input x": pictures({"y": (ANY, 2)}, preprocess={"size": [8, 9]}, **AB),
    "nchw with 1 channels": pictures({"y": (ANY, 2)}, preprocess={"channels": "gray"}, **AB),
    "four dimensions": pictures({"y": (ANY, 2)}, {"x": (ANY, 192)}, **AB),
    "one input, not x, z": pictures({"y": (ANY, 2)}, IMAGE | {"z": (1,)}, **AB),
    "4 or 5": pictures({"y": (ANY, 9, 99)}, IMAGE, "object-detection", **AB, **YOLO),
    r"5 \+ labels": pictures({"y": (ANY, 9, 6)}, IMAGE, "object-detection", **AB, **FASTESTDET),
    r"\[rows, n, 4\]": pictures({"y": (ANY, 9, 3)}, IMAGE, "object-detection", **AB, **ULTRAFACE),
    r"1 \+ characters": pictures({"y": (ANY, 9, 3)}, IMAGE, "ocr", labels="charset.txt"),
    "items must name": films(TOWERS),
    r"bad\.jsonl: line 2": films(TOWERS, items="bad.jsonl"),
    "JSON lines": films(TOWERS, items="labels.txt"),
    "input must be history": films(TOWERS, {"h": (ANY, ANY)}, **ITEMS),
    r"scores \[rows, 2\]": films({"scores": (ANY, 3)}, **ITEMS),
    r"\[2, dimensions\]": films(TOWERS | {"item_embeddings": (3, 4)}, **ITEMS),
    "give query": films({"scores": (ANY, 2)}, ranker="ranker.onnx", **ITEMS),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_what_does_not_fit_is_told_at_load(folder: Path, reason: str) -> None:
    with pytest.raises(BadModelFolder, match=reason):
        opened(folder, FAULTS[reason], RANKER)


def test_a_ranker_must_take_what_the_towers_give(folder: Path) -> None:
    version = films(TOWERS, ranker="ranker.onnx", **ITEMS)
    assert opened(folder, version, RANKER).ranker == "ranker.onnx"
    with pytest.raises(BadModelFolder, match="ranker: it must take query, candidates and history"):
        opened(folder, version, signed(HISTORY, TOWERS))
    inputs = {"query": (1, 4), "candidates": (1, ANY), "history": (1, ANY)}
    with pytest.raises(BadModelFolder, match="any number of rows"):
        opened(folder, version, signed(inputs, {"scores": (1, ANY)}))


async def test_texts_are_cut_to_a_length_that_the_model_fixes(folder: Path) -> None:
    version = text({"y": (ANY, 2)}, {"input_ids": (ANY, 4)}, tokenizer="bytes", **AB)
    encoder = opened(folder, version).encoder
    (rows,) = [rows async for rows in encoder.rows(Texts(("abcdefgh", "a")))]
    assert rows.inputs["input_ids"].tolist() == [[98, 99, 100, 101], [98, 0, 0, 0]]
