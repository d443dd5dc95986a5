"""The port to the versions of models on disk."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from weir_inference.core.hosted_model import OpenedModel
from weir_inference.core.model_decisions import ModelDecisions
from weir_inference.core.model_versions import VersionKey


@dataclass(frozen=True)
class Present:
    """A version in the repository, not opened: about what it will hold, in MiB."""

    memory_mb: int


class Repository(Protocol):
    """Versions on disk, and what operators decided on them."""

    async def present(self) -> Mapping[str, Mapping[int, Present]]:
        """Every version by name and number; those that are unfit are among them."""
        ...

    async def fetch(self, name: str, version: int, source: str) -> None:
        """Bring a version from elsewhere into the repository, verified.

        Raises `BadModelFolder` and what else keeps it out; then nothing is there.
        """
        ...

    def open(self, key: VersionKey) -> AbstractAsyncContextManager[OpenedModel]:
        """Verify, load and warm a version.

        Raises `BadModelFolder`, or what keeps it from loading.
        """
        ...

    async def decisions(self) -> Mapping[str, ModelDecisions]:
        """What was saved."""
        ...

    async def save(self, decisions: Mapping[str, ModelDecisions]) -> None:
        """Keep them, all or nothing."""
        ...
