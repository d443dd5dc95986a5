"""Magika's features: the same as its authors' on all their examples."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weir_inference.adapters.repository.bad_model_folder import BadModelFolder
from weir_inference.adapters.tasks.blobs import BlobEncoder, Ends, read_magika
from weir_inference.core.prediction import Blobs
from weir_inference.core.tensors import ANY, Datatype, TensorSpec

MAGIKA = Path(__file__).resolve().parents[6] / "shared/assets/onnx/magika-v3_3"
ENDS = Ends(beginning=4, end=3, block=8, padding=256, least=2)
CONFIG = {
    "beg_size": 4, "end_size": 3, "block_size": 8, "padding_token": 256,
    "min_file_size_for_dl": 2, "target_labels_space": ["a", "b"], "text_labels": ["a"],
    "medium_confidence_threshold": 0.5, "thresholds": {"a": 0.9}, "overwrite_map": {"b": "c"},
}  # fmt: skip


@pytest.mark.skipif(not MAGIKA.exists(), reason="the shared assets are not here")
def test_all_of_magika_s_examples_give_its_features() -> None:
    file = MAGIKA / "features_extraction_examples.json.gz"
    examples = json.loads(gzip.decompress(file.read_bytes()))
    assert len(examples) == 9261
    for example in examples:
        asked = example["args"]
        ends = Ends(
            asked["beg_size"], asked["end_size"], asked["block_size"], asked["padding_token"], 1
        )
        features = ends.features(base64.b64decode(example["content_base64"]))
        expected = example["features"]["beg"] + example["features"]["end"]
        assert features.tolist() == expected


async def test_what_is_nearly_nothing_has_its_label_at_once() -> None:
    blobs = (b"", b"  ", b"\xff", b"ab  ", b" \t\n c", b"0123456789")
    encoder = BlobEncoder(TensorSpec("bytes", Datatype.INT32, (ANY, 7)), ENDS)
    (rows,) = [rows async for rows in encoder.rows(Blobs(blobs))]
    assert rows.about == ["empty", "txt", "unknown", None, "txt", None]
    features = rows.inputs["bytes"]
    assert features.dtype == np.int32
    assert features[3].tolist() == [97, 98, 32, 32, 256, 97, 98]
    assert features[5].tolist() == [48, 49, 50, 51, 55, 56, 57]


def test_the_configuration_is_read(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(CONFIG))
    ends, types = read_magika(file)
    assert ends == ENDS
    assert (types.labels, types.texts) == (["a", "b"], {"a"})
    assert (types.threshold, types.thresholds, types.renamed) == (0.5, {"a": 0.9}, {"b": "c"})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"text_labels": None}, "is no configuration"),
        ({"beg_size": "many"}, "is no configuration"),
        ({"beg_size": 8}, "sizes that do not fit"),
        ({"min_file_size_for_dl": 0}, "sizes that do not fit"),
        ({"mid_size": 4}, "features of the middle"),
    ],
)
def test_a_configuration_that_is_none_is_refused(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(CONFIG | changes))
    with pytest.raises(BadModelFolder, match=reason):
        read_magika(file)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    for key in CONFIG:
        file.write_text(json.dumps({k: v for k, v in CONFIG.items() if k != key}))
        with pytest.raises(BadModelFolder, match=f"lacks the key '{key}'"):
            read_magika(file)
