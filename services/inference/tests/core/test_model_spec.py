"""A model.yaml says what is meant, or is told which key is wrong and what would be right."""

import copy
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir_inference.core.model_signature import check_signature
from weir_inference.core.model_spec import (
    KEYS,
    Batching,
    EngineKind,
    Hardware,
    Requirement,
    model_spec,
)
from weir_inference.core.processing import (
    POSTPROCESS_KEYS,
    Activation,
    Channels,
    Decoder,
    ImagePreprocess,
    Layout,
    Pooling,
    Postprocess,
    Resize,
    Task,
    TextPreprocess,
)
from weir_inference.core.tensors import Datatype, TensorSpec
from weir_inference.core.upstream_spec import UpstreamSpec
from weir_inference.core.vllm_spec import VLLM_KEYS, VllmSpec
from weir_kit.errors import InvalidArgument

IMAGES: dict[str, Any] = {
    "task": "object-detection",
    "engine": "onnx",
    "file": "detector.onnx",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3, 240, 320]}],
    "outputs": [{"name": "boxes", "datatype": "FP32", "shape": [-1, 4420, 4]}],
    "labels": ["background", "face"],
    "preprocess": {
        "size": [240, 320],
        "channels": "bgr",
        "scale": 1.0,
        "mean": 127,
        "std": [128, 128, 128.0],
        "resize": "letterbox",
        "layout": "nhwc",
        "pad_value": 114,
    },
    "postprocess": {"decoder": "ultraface", "iou": 0.3, "score": 0.7, "top_k": 200},
    "batching": {"max_rows": 16, "max_delay_ms": 5, "max_queued_rows": 64, "buckets": [16, 64]},
    "instances": 2,
    "hardware": ["cpu"],
    "aliases": ["stable", "canary"],
    "card": "MODEL_CARD.md",
    "licence": "MIT",
    "requires": [{"suite": "wider-face", "metric": "ap", "min": 0.7}],
    "memory_mb": 12,
    "metadata": {"team": "vision"},
}
TEXT: dict[str, Any] = {
    "task": "embedding",
    "engine": "onnx",
    "tokenizer": "tokenizer.json",
    "labels": "labels.txt",
    "preprocess": {"max_tokens": 256, "lowercase": True},
    "postprocess": {"pooling": "mean", "normalize": True},
}
RECOMMENDATION: dict[str, Any] = {
    "task": "recommendation",
    "engine": "onnx",
    "ranker": "ranker.onnx",
    "items": "items.csv",
    "postprocess": {"top_k": 20},
}

UPSTREAM: dict[str, Any] = {
    "task": "generation",
    "engine": "openai",
    "tokenizer": "tokenizer.json",
    "upstream": {
        "url": "https://llm.example:8443/v1/",
        "model": "big",
        "api_key_file": "llm.key",
        "connect_timeout_s": 1.5,
        "first_token_timeout_s": 90,
        "read_timeout_s": 10,
        "retries": 0,
        "token_ids": True,
        "context_tokens": 8192,
    },
}
VLLM: dict[str, Any] = {
    "task": "generation",
    "engine": "vllm",
    "vllm": {
        "tensor_parallel_size": 2,
        "pipeline_parallel_size": 3,
        "data_parallel_size": 4,
        "distributed_executor_backend": "ray",
        "dtype": "bfloat16",
        "max_model_len": 2048,
        "max_num_seqs": 8,
        "max_num_batched_tokens": 4096,
        "gpu_memory_utilization": 0.5,
        "kv_cache_memory_mb": 64,
        "enforce_eager": True,
        "enable_prefix_caching": False,
        "scheduling_policy": "priority",
        "enable_lora": True,
        "max_loras": 2,
        "max_lora_rank": 32,
    },
}


def test_every_key_is_read() -> None:
    spec = model_spec(IMAGES)
    assert (spec.task, spec.engine) == (Task.OBJECT_DETECTION, EngineKind.ONNX)
    assert spec.inputs == (TensorSpec("x", Datatype.FP32, (-1, 3, 240, 320)),)
    assert spec.outputs == (TensorSpec("boxes", Datatype.FP32, (-1, 4420, 4)),)
    assert spec.labels == ("background", "face")
    assert spec.preprocess == ImagePreprocess(
        (240, 320), Channels.BGR, 1.0, (127.0,), (128.0,) * 3, Resize.LETTERBOX, Layout.NHWC, 114
    )
    assert spec.postprocess == Postprocess(decoder=Decoder.ULTRAFACE, iou=0.3, score=0.7, top_k=200)
    assert spec.batching == Batching(16, 5.0, 64, (16, 64))
    assert (spec.instances, spec.memory_mb, spec.licence) == (2, 12, "MIT")
    assert spec.hardware == (Hardware.CPU,)
    assert spec.aliases == ("stable", "canary")
    assert spec.requires == (Requirement("wider-face", "ap", 0.7),)
    assert dict(spec.metadata) == {"team": "vision"}
    assert spec.named_files == {"file": "detector.onnx", "card": "MODEL_CARD.md"}

    text = model_spec(TEXT)
    assert text.preprocess == TextPreprocess(256, True)
    assert text.postprocess == Postprocess(pooling=Pooling.MEAN, normalize=True)
    assert text.named_files == {
        "file": "model.onnx",
        "labels": "labels.txt",
        "tokenizer": "tokenizer.json",
    }
    assert model_spec(RECOMMENDATION).named_files == {
        "file": "model.onnx",
        "ranker": "ranker.onnx",
        "items": "items.csv",
    }
    upstream = model_spec(UPSTREAM).upstream
    assert upstream == UpstreamSpec(
        "https://llm.example:8443/v1", "big", 8192, "llm.key", 1.5, 90.0, 10.0, 0, True
    )
    assert upstream.host == "llm.example"
    assert asdict(model_spec(VLLM).vllm or VllmSpec()) == VLLM["vllm"]
    assert {*VLLM["vllm"]} == {*VLLM_KEYS}
    documents = (IMAGES, TEXT, RECOMMENDATION, UPSTREAM, VLLM)
    assert {*KEYS} == {key for one in documents for key in one}, "no key is left out of this test"


URL_MUST = "upstream.url must be http(s)://host[:port]/path"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": None}, "upstream.url is missing"),
        ({"url": "ftp://llm.example"}, URL_MUST),
        ({"url": "https://user:word@llm.example"}, URL_MUST),
        ({"url": "https://llm.example/v1?key=word"}, URL_MUST),
        ({"url": "https://llm.example:port"}, URL_MUST),
        ({"url": "https://../v1"}, URL_MUST),
        ({"url": "https://[::1"}, URL_MUST),
        ({"model": None}, "upstream.model is missing"),
        ({"context_tokens": None}, "upstream.context_tokens is missing"),
        ({"api_key_file": "../other.key"}, "upstream.api_key_file names a file whose name leads"),
        ({"retries": 9}, "upstream.retries must be 0..8, not 9"),
        ({"timeout_s": 1}, "upstream.timeout_s is not a known key"),
    ],
)
def test_a_fault_of_an_upstream_names_its_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument) as told:
        model_spec({**UPSTREAM, "upstream": {**UPSTREAM["upstream"], **changes}})
    assert message in told.value.message
    assert "word" not in told.value.message


def test_what_an_engine_is_told_stands_only_with_that_engine() -> None:
    for key, document in (("upstream", UPSTREAM), ("vllm", VLLM)):
        with pytest.raises(InvalidArgument, match=f"{key} stands only with engine"):
            model_spec({**TEXT, key: document[key]})
    with pytest.raises(InvalidArgument, match=r"upstream\.url is missing"):
        model_spec({"task": "generation", "engine": "openai"})
    assert model_spec({"task": "generation", "engine": "vllm"}).vllm == VllmSpec()


def test_bytes_are_a_tokenizer_without_a_file() -> None:
    spec = model_spec({"task": "language-id", "engine": "onnx", "tokenizer": "bytes"})
    assert "tokenizer" not in spec.named_files


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batching": {"max_rows": 0}}, "model.yaml: batching.max_rows must be 1..1024, not 0"),
        ({"batching": {"max_rows": True}}, "batching.max_rows must be 1..1024, not True"),
        ({"batching": {"maxrows": 4}}, "batching.maxrows is not a known key; did you mean max_ro"),
        ({"batching": {"max_rows": 8, "max_queued_rows": 7}}, "batching.max_queued_rows must be 8"),
        ({"batching": {"buckets": [64, 16]}}, "batching.buckets must ascend"),
        ({"task": "object-detektion"}, "not 'object-detektion'; did you mean object-detection?"),
        ({"task": None}, "model.yaml: task is missing"),
        ({"file": "../detector.onnx"}, "file names a file whose name leads outside"),
        ({"file": "detector.pt"}, "file must end in .onnx, not 'detector.pt'"),
        ({"inputs": [{"name": "x", "datatype": "FP33", "shape": []}]}, "did you mean FP32?"),
        ({"inputs": [{"name": "x", "datatype": "FP32"}]}, "inputs[0].shape is missing"),
        (
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [0]}]},
            "inputs[0].shape must hold",
        ),
        ({"inputs": IMAGES["inputs"] * 2}, "inputs must not name a tensor twice"),
        ({"labels": ["a", "a"]}, "labels must be a list of different lines"),
        ({"labels": ["a\nb"]}, "labels must be a list of different lines"),
        ({"preprocess": {"max_tokens": 4}}, "preprocess.max_tokens is not a known key"),
        ({"preprocess": {"size": [4]}}, "preprocess.size must be [height, width]"),
        ({"preprocess": {"mean": [1, 2]}}, "preprocess.mean must be one number, or 3 for rgb"),
        ({"preprocess": {"channels": "gray", "std": [1, 2, 3]}}, "or 1 for gray"),
        ({"preprocess": {"std": 0}}, "preprocess.std must be 1..3 numbers"),
        ({"postprocess": {"decoder": "yolo", "pooling": "mean"}}, "postprocess.pooling is not a"),
        ({"postprocess": {}}, "postprocess.decoder is missing"),
        ({"postprocess": {"decoder": "yolo", "iou": 1.5}}, "postprocess.iou must be a number 0..1"),
        ({"postprocess": {"decoder": "yolo", "iou": float("nan")}}, "postprocess.iou must be"),
        ({"hardware": ["gpu"]}, "hardware must be a list of different words of cpu, cuda"),
        ({"aliases": ["Stable"]}, "aliases must be a list of different aliases (1..32 of a-z"),
        ({"aliases": ["3"]}, "aliases must be"),
        ({"requires": [{"suite": "s", "metric": "m"}]}, "requires[0].min is missing"),
        ({"ranker": "r.onnx"}, "ranker stands only with task recommendation"),
        ({"metadata": {"a": 1}}, "metadata.a must be text in one line"),
        ({"metadata": {1: "a"}}, "metadata must have keys that are text"),
        ({"instances": 10**5000}, "instances must be 1..64, not a number of many digits"),
        ({"licens": "MIT"}, "licens is not a known key; did you mean licence?"),
        ({7: "x"}, "7 is not a known key"),
    ],
)
def test_a_fault_names_the_key_and_what_would_be_right(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgument) as told:
        model_spec({**IMAGES, **changes})
    assert message in told.value.message
    assert told.value.field is not None
    assert told.value.message.startswith(f"model.yaml: {told.value.field}")


@pytest.mark.parametrize("task", list(Task))
def test_a_task_has_its_own_keys_and_no_others(task: Task) -> None:
    values: dict[str, Any] = {
        "activation": "softmax", "threshold": 0.5, "top_k": 3, "pooling": "cls", "normalize": True,
        "decoder": "yolo", "iou": 0.5, "score": 0.5,
    }  # fmt: skip
    known = POSTPROCESS_KEYS.get(task, ())
    allowed = {key: values[key] for key in known}
    raw = {"task": task.value, "engine": "onnx", "postprocess": allowed}
    spec = model_spec(raw)
    assert all(getattr(spec.postprocess, key) == value for key, value in allowed.items())
    for key in values.keys() - {*known}:
        with pytest.raises(InvalidArgument, match=rf"postprocess\.{key}"):
            model_spec({**raw, "postprocess": {**allowed, key: values[key]}})


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """A good document, anything put somewhere into it."""
    document = copy.deepcopy(draw(st.sampled_from([IMAGES, TEXT, RECOMMENDATION, UPSTREAM, VLLM])))
    at: Any = document
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            return document
        key = draw(st.sampled_from(keys))
        if isinstance(at[key], dict | list) and draw(st.booleans()):
            at = at[key]
            continue
        at[key] = draw(PLAIN)
        return document


@settings(max_examples=200, deadline=None)
@given(damaged() | PLAIN)
def test_any_document_is_read_or_refused_in_one_line(document: Any) -> None:
    try:
        spec = model_spec(document)
    except InvalidArgument as error:
        assert error.message.startswith("model.yaml: ")
        assert error.message.isprintable()
        assert len(error.message) < 600
    else:
        assert 1 <= spec.batching.max_rows <= spec.batching.max_queued_rows
        hash((spec.inputs, spec.labels, spec.preprocess, spec.postprocess, spec.batching))


OF_MODEL = (TensorSpec("x", Datatype.FP32, (-1, 3)), TensorSpec("n", Datatype.INT64, ()))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            TensorSpec("y", Datatype.FP32, (-1, 3)),
            r"inputs\[0\]\.name is y, and the model has n, x",
        ),
        (TensorSpec("x", Datatype.FP16, (-1, 3)), r"inputs\[0\]\.datatype is FP16, .* FP32"),
        (TensorSpec("x", Datatype.FP32, (-1, 4)), r"inputs\[0\]\.shape is \[-1, 4\]"),
        (TensorSpec("x", Datatype.FP32, (3,)), r"inputs\[0\]\.shape is \[3\]"),
        (TensorSpec("x", Datatype.FP32, (8, -1)), "inputs leaves out n"),
    ],
)
def test_a_signature_that_is_not_the_models_is_told(wanted: TensorSpec, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        check_signature("inputs", [wanted], OF_MODEL)


def test_a_signature_may_say_more_or_less_than_the_model() -> None:
    narrow = TensorSpec("x", Datatype.FP32, (8, -1))
    check_signature("inputs", [narrow, OF_MODEL[1]], OF_MODEL)


def test_activations_have_their_words() -> None:
    assert [*Activation] == ["softmax", "sigmoid", "none"]
