"""model.yaml is plain YAML and fits the files beside it; Hugging Face folders need none."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir_inference.adapters.repository.bad_model_folder import BadModelFolder
from weir_inference.adapters.repository.folder import ModelFiles, open_folder
from weir_inference.adapters.repository.folder_files import FolderLimits
from weir_inference.adapters.repository.in_thread import Stop
from weir_inference.adapters.repository.model_yaml import YAML_BYTES_MAX, read_yaml
from weir_inference.core.model_spec import EngineKind
from weir_inference.core.processing import Task

WEIR_TALES = Path(__file__).parents[3] / "models/weir-tales"
STORIES = Path("/work/shared/assets/models/stories260K-hf")


def opened(folder: Path) -> ModelFiles:
    return open_folder(folder, FolderLimits(), Stop())


@pytest.fixture
def told(plain: Path) -> Callable[[str], str]:
    """`told(more)` → why a version with more lines in its model.yaml is refused."""

    def tell(more: str) -> str:
        path = plain / "model.yaml"
        path.write_text(path.read_text() + more)
        with pytest.raises(BadModelFolder) as error:
            opened(plain)
        return error.value.message

    return tell


def test_a_spec_is_read_and_weighs_as_much_as_its_weights(plain: Path) -> None:
    spec = opened(plain).spec
    assert (spec.task, spec.engine, spec.labels_file) == (
        Task.TENSORS,
        EngineKind.ONNX,
        "labels.txt",
    )
    assert spec.memory_mb == 1
    with (plain / "more.safetensors").open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
        text = file.read(header).decode()
    size = 3 << 20
    text = text.replace("[2,3]", f"[{size // 4}]").replace("[0,24]", f"[0,{size}]")
    whole = len(text).to_bytes(8, "little") + text.encode() + bytes(size)
    (plain / "more.safetensors").write_bytes(whole)
    assert opened(plain).spec.memory_mb == 4, "rounded up"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("task: ocr\n", "model.yaml: line 1: a key stands twice"),
        ("metadata: {a: b, a: c}\n", "model.yaml: line 7: a key stands twice"),
        ("metadata: &m {a: b}\nbatching: *m\n", "model.yaml: aliases (*) are not read"),
        ("metadata: {when: 2026-99-99}\n", "model.yaml: is not readable YAML"),
        ("metadata: !!python/object:os.system {}\n", "could not determine a constructor"),
        ("metadata: {a: b\n", "model.yaml: line "),
        ("? [a]\n: b\n", "model.yaml: line 7: found unhashable key"),
        ("instances: 0\n", "model.yaml: instances must be 1..64, not 0"),
        ("tokenizer: tok.json\n", "model.yaml: tokenizer names tok.json, which the folder has not"),
        ("outputs: [{name: z, datatype: FP32, shape: [4]}]\n", "outputs[0].name is z, and the mod"),
        ("x: " + "[" * 5000, "model.yaml: is not readable YAML"),
        ("#" * YAML_BYTES_MAX, f"model.yaml: is larger than {YAML_BYTES_MAX} bytes"),
    ],
)
def test_a_fault_is_told(told: Callable[[str], str], more: str, why: str) -> None:
    assert why in told(more)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_plain_document_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(data)
    try:
        read_yaml(path)
    except BadModelFolder as error:
        assert error.file == "any.yaml"


def test_a_hugging_face_folder_needs_no_model_yaml() -> None:
    files = opened(WEIR_TALES)
    assert (files.spec.task, files.spec.engine) == (Task.GENERATION, EngineKind.TORCH)
    assert files.spec.tokenizer == "tokenizer.json"
    assert files.spec.memory_mb == 10
    assert files.folder == WEIR_TALES
    assert len(files.digest) == 64


@pytest.mark.skipif(not STORIES.is_dir(), reason="no assets here")
def test_another_hugging_face_folder_is_accepted() -> None:
    assert opened(STORIES).spec.task is Task.GENERATION


def test_a_folder_of_neither_kind_is_told_what_is_missing(plain: Path) -> None:
    (plain / "model.yaml").unlink()
    (plain / "config.json").unlink()
    with pytest.raises(BadModelFolder, match=r"no model\.yaml, and is no Hugging Face model"):
        opened(plain)
