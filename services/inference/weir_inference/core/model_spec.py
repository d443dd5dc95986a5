"""What a model version says of itself: the fields of its `model.yaml`, checked."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from weir_inference.core.processing import (
    ImagePreprocess,
    Postprocess,
    Task,
    TextPreprocess,
    postprocess_of,
    preprocess_of,
)
from weir_inference.core.spec_fields import Fields, is_line
from weir_inference.core.tensors import ANY, Datatype, TensorSpec
from weir_inference.core.upstream_spec import UpstreamSpec, upstream_of
from weir_inference.core.vllm_spec import VllmSpec, vllm_of

DOCUMENT = "model.yaml"
KEYS: Final = (
    "task", "engine", "file", "inputs", "outputs", "labels", "tokenizer", "preprocess",
    "postprocess", "batching", "instances", "hardware", "aliases", "card", "licence", "requires",
    "ranker", "items", "memory_mb", "metadata", "upstream", "vllm",
)  # fmt: skip
BYTES_TOKENIZER = "bytes"
CARD = "MODEL_CARD.md"
OUTPUT_KEYS = ("name", "datatype", "shape")
INPUT_KEYS = (*OUTPUT_KEYS, "optional")
BATCHING_KEYS = ("max_rows", "max_delay_ms", "max_queued_rows", "buckets")
REQUIREMENT_KEYS = ("suite", "metric", "min")
ALIAS_TOLD = "aliases (1..32 of a-z 0-9 -, a letter first)"
ALIAS = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
METADATA_KEY = re.compile(r"[A-Za-z0-9][\w./-]{0,62}", re.ASCII)
LINE_CHARS_MAX = 256
TENSORS_MAX = 64
DIMS_MAX = 8
LABELS_MAX = 10_000
METADATA_MAX = 64
BUCKETS_MAX = 32
REQUIREMENTS_MAX = 32
ALIASES_MAX = 16
INT32_MAX = (1 << 31) - 1


class EngineKind(StrEnum):
    """What runs the model."""

    TORCH = "torch"
    ONNX = "onnx"
    OPENAI = "openai"
    VLLM = "vllm"


class Hardware(StrEnum):
    """Where it may run."""

    CPU = "cpu"
    CUDA = "cuda"


# Of `file`, by engine: what its name may end in.
WEIGHT_SUFFIXES = {EngineKind.TORCH: (".safetensors",), EngineKind.ONNX: (".onnx",)}
ENGINE_KEYS = {"upstream": EngineKind.OPENAI, "vllm": EngineKind.VLLM}


@dataclass(frozen=True)
class Batching:
    """How calls join: `buckets` are lengths that text is padded up to, ascending."""

    max_rows: int = 32
    max_delay_ms: float = 2.0
    max_queued_rows: int = 1024
    buckets: tuple[int, ...] = ()


@dataclass(frozen=True)
class Requirement:
    """A measured value below which this version is not to be served."""

    suite: str
    metric: str
    min: float


@dataclass(frozen=True)
class ModelSpec:
    """What a version is and how it is run. File names are relative to its folder.

    Empty `inputs` and `outputs` mean: as the model's file says. Of the labels, `labels` or
    `labels_file` is set, or neither. `tokenizer` is a file, `BYTES_TOKENIZER` or None. Without
    `hardware` it runs on any. `card` is None for the usual `CARD`, which may be absent. `upstream`
    is set for the engine `openai`, `vllm` for `vllm`, and each for no other.
    """

    task: Task
    engine: EngineKind
    file: str | None = None
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    labels: tuple[str, ...] = ()
    labels_file: str | None = None
    tokenizer: str | None = None
    preprocess: TextPreprocess | ImagePreprocess | None = None
    postprocess: Postprocess = field(default_factory=Postprocess)
    batching: Batching = Batching()
    instances: int = 2
    hardware: tuple[Hardware, ...] = ()
    aliases: tuple[str, ...] = ()
    card: str | None = None
    licence: str | None = None
    requires: tuple[Requirement, ...] = ()
    ranker: str | None = None
    items: str | None = None
    memory_mb: int | None = None
    metadata: MappingProxyType[str, str] = field(default_factory=lambda: MappingProxyType({}))
    upstream: UpstreamSpec | None = None
    vllm: VllmSpec | None = None

    @property
    def named_files(self) -> dict[str, str]:
        """The files that must be in the folder, by the key that names each."""
        tokenizer = None if self.tokenizer == BYTES_TOKENIZER else self.tokenizer
        named = {
            "file": self.file,
            "labels": self.labels_file,
            "tokenizer": tokenizer,
            "card": self.card,
            "ranker": self.ranker,
            "items": self.items,
        }
        return {key: name for key, name in named.items() if name is not None}


def model_spec(raw: object) -> ModelSpec:
    """Read the document of a `model.yaml`.

    Raises `InvalidArgument` naming the key's path and what would be right.
    """
    fields = Fields(raw, KEYS, DOCUMENT)
    task = fields.required("task", fields.word("task", Task, None))
    engine = fields.required("engine", fields.word("engine", EngineKind, None))
    labels, labels_file = _labels(fields)
    if task is not Task.RECOMMENDATION:
        for key in ("ranker", "items"):
            if key in fields:
                raise fields.error(key, f"stands only with task {Task.RECOMMENDATION}")
    for key, its_engine in ENGINE_KEYS.items():
        if key in fields and engine is not its_engine:
            raise fields.error(key, f"stands only with engine {its_engine}")
    return ModelSpec(
        task=task,
        engine=engine,
        file=_file(fields, engine),
        inputs=_tensors(fields, "inputs"),
        outputs=_tensors(fields, "outputs"),
        labels=labels,
        labels_file=labels_file,
        tokenizer=fields.file("tokenizer", None),
        preprocess=preprocess_of(fields, task),
        postprocess=postprocess_of(fields, task),
        batching=_batching(fields),
        instances=fields.integer("instances", 1, 64, 2),
        hardware=tuple(map(Hardware, _hardware(fields))),
        aliases=tuple(fields.words("aliases", ALIASES_MAX, ALIAS_TOLD, is_alias)),
        card=fields.file("card", None, (".md",)),
        licence=fields.text("licence", LINE_CHARS_MAX, None),
        requires=tuple(
            map(_requirement, fields.each("requires", REQUIREMENTS_MAX, REQUIREMENT_KEYS))
        ),
        ranker=fields.file("ranker", None),
        items=fields.file("items", None),
        memory_mb=fields.integer("memory_mb", 1, 1 << 24, None),
        metadata=MappingProxyType(_metadata(fields)),
        upstream=upstream_of(fields) if engine is EngineKind.OPENAI else None,
        vllm=vllm_of(fields) if engine is EngineKind.VLLM else None,
    )


def is_alias(text: str) -> bool:
    """Whether it can name a version, such as `stable`."""
    return ALIAS.fullmatch(text) is not None


def _file(fields: Fields, engine: EngineKind) -> str | None:
    default = "model.onnx" if engine is EngineKind.ONNX else None
    return fields.file("file", default, WEIGHT_SUFFIXES.get(engine, ()))


def _labels(fields: Fields) -> tuple[tuple[str, ...], str | None]:
    if fields.is_text("labels"):
        return (), fields.file("labels", None)
    labels = fields.words("labels", LABELS_MAX, "lines of text", _is_label)
    return tuple(labels), None


def _is_label(text: str) -> bool:
    return is_line(text, LINE_CHARS_MAX)


def _tensors(fields: Fields, key: str) -> tuple[TensorSpec, ...]:
    known = INPUT_KEYS if key == "inputs" else OUTPUT_KEYS
    tensors = tuple(map(_tensor, fields.each(key, TENSORS_MAX, known)))
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise fields.fault(key, "must not name a tensor twice")
    return tensors


def _tensor(fields: Fields) -> TensorSpec:
    return TensorSpec(
        name=fields.required("name", fields.text("name", LINE_CHARS_MAX, None)),
        datatype=fields.required("datatype", fields.word("datatype", Datatype, None)),
        shape=_shape(fields),
        optional=fields.flag("optional", False),
    )


def _shape(fields: Fields) -> tuple[int, ...]:
    """Sizes; `[]` is a scalar's."""
    fields.required("shape", "shape" in fields or None)
    shape = fields.integers("shape", ANY, INT32_MAX, DIMS_MAX, n_min=0)
    if 0 in shape:
        raise fields.fault("shape", f"must hold sizes of 1 or more, or {ANY} for any")
    return shape


def _batching(fields: Fields) -> Batching:
    inner = fields.inner("batching", BATCHING_KEYS)
    max_rows = inner.integer("max_rows", 1, 1024, 32)
    buckets = inner.integers("buckets", 1, 1 << 20, BUCKETS_MAX)
    if sorted(set(buckets)) != list(buckets):
        raise inner.fault("buckets", "must ascend")
    return Batching(
        max_rows=max_rows,
        max_delay_ms=inner.number("max_delay_ms", 0.0, 1000.0, 2.0),
        max_queued_rows=inner.integer("max_queued_rows", max_rows, 1 << 20, max(max_rows, 1024)),
        buckets=buckets,
    )


def _hardware(fields: Fields) -> list[str]:
    what = f"words of {', '.join(Hardware)}"
    return fields.words("hardware", len(Hardware), what, lambda text: text in list(Hardware))


def _requirement(fields: Fields) -> Requirement:
    return Requirement(
        suite=fields.required("suite", fields.text("suite", LINE_CHARS_MAX, None)),
        metric=fields.required("metric", fields.text("metric", LINE_CHARS_MAX, None)),
        min=fields.required("min", fields.number("min", -1e12, 1e12, None)),
    )


def _metadata(fields: Fields) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in fields.pairs("metadata", METADATA_MAX).items():
        if not METADATA_KEY.fullmatch(key):
            raise fields.error("metadata", "must have keys of 1..63 of A-Z a-z 0-9 _ . / -")
        if not is_line(value, LINE_CHARS_MAX):
            must = f"must be text in one line of 1..{LINE_CHARS_MAX} characters"
            raise fields.error(f"metadata.{key}", must)
        found[key] = value
    return found
