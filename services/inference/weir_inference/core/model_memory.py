"""Which idle model versions make room for another: the one used longest ago goes first."""

from collections.abc import Iterable
from dataclasses import dataclass

from weir_inference.core.model_versions import VersionKey
from weir_kit.errors import Conflict


@dataclass(frozen=True)
class LoadedVersion:
    """What a loaded version holds. `pinned` ones stay, as those do that calls use."""

    key: VersionKey
    memory_mb: int
    used_at_s: float
    n_users: int = 0
    pinned: bool = False

    @property
    def idle(self) -> bool:
        """Whether it may go."""
        return self.n_users == 0 and not self.pinned


class NoRoom(Conflict):
    """The memory budget does not hold the version beside what must stay."""


def unloads_for(
    key: VersionKey, needed_mb: int, loaded: Iterable[LoadedVersion], budget_mb: int
) -> tuple[VersionKey, ...]:
    """What to unload, in this order, so that a version fits the budget; nothing if it does.

    Nothing goes whose going is not needed. Raises `NoRoom` with the numbers.
    """
    versions = list(loaded)
    assert all(one.key != key for one in versions), "a loaded version needs no room"
    missing_mb = sum(one.memory_mb for one in versions) + needed_mb - budget_mb
    going: list[LoadedVersion] = []
    for one in sorted(versions, key=lambda one: (one.used_at_s, one.key)):
        if missing_mb <= 0:
            break
        if one.idle:
            going.append(one)
            missing_mb -= one.memory_mb
    if missing_mb > 0:
        kept_mb = sum(one.memory_mb for one in versions if not one.idle)
        raise NoRoom(
            f"{key} needs {needed_mb} MiB; the budget is {budget_mb} MiB, and {kept_mb} MiB are "
            "of versions in use or pinned"
        )
    # A large one that went last may have made room enough for small ones before it.
    for one in reversed(going.copy()):
        if one.memory_mb + missing_mb <= 0:
            going.remove(one)
            missing_mb += one.memory_mb
    return tuple(one.key for one in going)
