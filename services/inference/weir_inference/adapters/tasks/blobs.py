"""Magika's view of a file: its beginning and its end, without the white space around them."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weir_inference.adapters.repository.bad_model_folder import BadModelFolder
from weir_inference.core.prediction import Blobs
from weir_inference.core.tasks.file_type import EMPTY, TEXT, UNKNOWN, FileTypes
from weir_inference.core.tasks.task import Rows
from weir_inference.core.tensors import TensorSpec


@dataclass(frozen=True)
class Ends:
    """How much of a file is looked at, in bytes; `padding` stands for bytes that are not there."""

    beginning: int
    end: int
    block: int
    padding: int
    least: int

    @property
    def width(self) -> int:
        return self.beginning + self.end

    def features(self, content: bytes) -> NDArray[np.int32]:
        """The bytes [width] of the stripped beginning, padded behind, and end, padded before."""
        features = np.full(self.width, self.padding, np.int32)
        beginning = content[: self.block].lstrip()[: self.beginning]
        features[: len(beginning)] = np.frombuffer(beginning, np.uint8)
        end = content[-self.block :].rstrip()[-self.end :] if self.end else b""
        features[self.width - len(end) :] = np.frombuffer(end, np.uint8)
        return features


class BlobEncoder:
    """An `Encoder` of blobs; `about` is the label of those too small to be looked at."""

    def __init__(self, spec: TensorSpec, ends: Ends) -> None:
        self._spec = spec
        self._ends = ends

    async def rows(self, asked: Blobs) -> AsyncIterator[Rows[str | None]]:
        """See `Encoder.rows`."""
        features = np.stack([self._ends.features(blob) for blob in asked.blobs])
        small = [
            small_label(blob, self._ends)
            if row[self._ends.least - 1] == self._ends.padding
            else None
            for blob, row in zip(asked.blobs, features, strict=True)
        ]
        yield Rows({self._spec.name: features.astype(self._spec.datatype.dtype)}, small)


def small_label(content: bytes, ends: Ends) -> str:
    """The label of a blob of which nearly nothing is left when it is stripped."""
    if not content:
        return EMPTY
    try:
        content[: ends.block].decode()
    except UnicodeDecodeError:
        return UNKNOWN
    return TEXT


def read_magika(file: Path) -> tuple[Ends, FileTypes]:
    """The model's `config.min.json`, and in it `text_labels`: the labels that are text.

    Magika keeps these in a file of its own, `content_types_kb.min.json`. Raises `BadModelFolder`.
    """
    try:
        raw: dict[str, Any] = json.loads(file.read_bytes())
        ends = Ends(
            beginning=int(raw["beg_size"]),
            end=int(raw["end_size"]),
            block=int(raw["block_size"]),
            padding=int(raw["padding_token"]),
            least=int(raw["min_file_size_for_dl"]),
        )
        types = FileTypes(
            labels=[str(label) for label in raw["target_labels_space"]],
            texts=frozenset(map(str, raw["text_labels"])),
            threshold=float(raw["medium_confidence_threshold"]),
            thresholds={str(k): float(v) for k, v in raw["thresholds"].items()},
            renamed={str(k): str(v) for k, v in raw["overwrite_map"].items()},
        )
    except KeyError as error:
        raise BadModelFolder(f"lacks the key {error}", file.name) from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadModelFolder("is no configuration of Magika", file.name) from error
    if raw.get("mid_size") or raw.get("use_inputs_at_offsets"):
        raise BadModelFolder("asks for features of the middle, which are not made", file.name)
    if not 0 < ends.least <= ends.beginning < ends.block or not 0 <= ends.end < ends.block:
        raise BadModelFolder("has sizes that do not fit each other", file.name)
    return ends, types
