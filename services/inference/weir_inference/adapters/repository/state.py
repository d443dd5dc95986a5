"""The operators' decisions on models, in one JSON file."""

import json
from collections.abc import Mapping
from pathlib import Path

from weir_inference.adapters.repository.write_atomically import write_atomically
from weir_inference.core.model_decisions import ModelDecisions, from_document, to_document
from weir_kit.errors import InvalidArgument

STATE_BYTES_MAX = 64 << 20


class StateFile:
    """Reads and writes the file. One process has one."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, ModelDecisions]:
        """None are decided where there is no file.

        Raises `InvalidArgument` for a file that holds something else: it is never overwritten
        unseen.
        """
        try:
            with self._path.open("rb") as file:
                data = file.read(STATE_BYTES_MAX + 1)
        except FileNotFoundError:
            return {}
        try:
            if len(data) > STATE_BYTES_MAX:
                raise ValueError("too large")
            return from_document(json.loads(data))
        except (ValueError, RecursionError) as error:
            told = f"{self._path} is not JSON of at most {STATE_BYTES_MAX} bytes"
            raise InvalidArgument(told) from error
        except InvalidArgument as error:
            raise InvalidArgument(f"{self._path}: {error.message}", field=error.field) from error

    def write(self, decisions: Mapping[str, ModelDecisions]) -> None:
        """In place of what was decided before. Raises OSError."""
        text = json.dumps(to_document(decisions), indent=1)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, text.encode())
