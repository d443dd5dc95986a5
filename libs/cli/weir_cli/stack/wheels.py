"""Finds what lies in an installed package without importing it."""

import importlib.util
from pathlib import Path

from weir_cli.failure import Failure


def folder_in(package: str, path: str) -> Path:
    """A folder or file inside an installed package. Raises `Failure` if it is not there."""
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        found = Path(location) / path
        if found.exists():
            return found.resolve()
    raise Failure(
        f"{package} is not installed as Weir needs it ({path} is missing); run `make setup`"
    )
