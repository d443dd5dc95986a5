"""Which versions of a model are wanted, and which one a request means.

A request names a model as `name`, `name@3` or `name@alias`. Aliases come from the versions' own
`model.yaml` and from operators, who have the last word. An alias that would point to a version that
is not there does not exist.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from weir_inference.core.model_spec import is_alias
from weir_kit.errors import InvalidArgument, ModelNotFound

NAME = re.compile(r"[A-Za-z0-9][\w.:/-]{0,127}", re.ASCII)
VERSION = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
STABLE = "stable"


@dataclass(frozen=True, order=True)
class VersionKey:
    """One version of one model."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Latest:
    """The `n` highest versions."""

    n: int = 1


@dataclass(frozen=True)
class Pinned:
    """These versions and no others."""

    versions: tuple[int, ...]


@dataclass(frozen=True)
class AllVersions:
    """Every version."""


VersionPolicy = Latest | Pinned | AllVersions


def chosen(policy: VersionPolicy, present: Collection[int]) -> tuple[int, ...]:
    """The versions of those present that a policy asks for, ascending."""
    ascending = sorted(set(present))
    match policy:
        case Latest(n):
            return tuple(ascending[-n:])
        case Pinned(versions):
            return tuple(version for version in ascending if version in versions)
        case AllVersions():
            return tuple(ascending)


@dataclass(frozen=True)
class Reference:
    """A model as a request names it; without version and alias it is the model's usual version."""

    name: str
    version: int | None = None
    alias: str | None = None


def reference(text: str) -> Reference:
    """Read `name`, `name@version` or `name@alias`. Raises `InvalidArgument`."""
    name, at, rest = text.partition("@")
    if not NAME.fullmatch(name):
        raise InvalidArgument("a model's name is 1 to 128 of A-Z a-z 0-9 _ . : / -", field="model")
    if not at:
        return Reference(name)
    if VERSION.fullmatch(rest):
        return Reference(name, version=int(rest))
    if is_alias(rest):
        return Reference(name, alias=rest)
    raise InvalidArgument(
        "after the @ of a model's name stands a version (1, 2, …) or an alias such as stable",
        field="model",
    )


def aliases_of(
    claimed: Mapping[int, Iterable[str]], decided: Mapping[str, int], present: Collection[int]
) -> dict[str, int]:
    """Where each alias points, always to a version that is present.

    `claimed` are the aliases that versions give themselves: of several that claim one, the highest
    has it. `decided` are the operators'; one whose version is gone falls back to who claims it.
    """
    claims = {
        alias: version
        for version in sorted(claimed)
        if version in present
        for alias in claimed[version]
    }
    return claims | {alias: version for alias, version in decided.items() if version in present}


def resolve(wanted: Reference, aliases: Mapping[str, int], present: Collection[int]) -> VersionKey:
    """The version that a request means: of a bare name `stable`, or else the highest.

    Raises `ModelNotFound`.
    """
    if not present:
        raise ModelNotFound(f"no version of {wanted.name!r} is served", field="model")
    if wanted.alias is not None:
        version = aliases.get(wanted.alias)
        if version is None:
            known = ", ".join(sorted(aliases)) or "none"
            raise ModelNotFound(
                f"{wanted.name!r} has no alias {wanted.alias}; its aliases: {known}", field="model"
            )
    else:
        version = wanted.version or aliases.get(STABLE) or max(present)
    if version not in present:
        versions = ", ".join(map(str, sorted(present)[-8:]))
        raise ModelNotFound(
            f"version {version} of {wanted.name!r} is not served; served: {versions}",
            field="model",
        )
    return VersionKey(wanted.name, version)
