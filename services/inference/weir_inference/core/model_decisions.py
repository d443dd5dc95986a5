"""What operators decided on the models: the desired state, as a document that survives restarts."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from weir_inference.core.model_spec import is_alias
from weir_inference.core.model_versions import (
    NAME,
    AllVersions,
    Latest,
    Pinned,
    VersionPolicy,
    chosen,
)
from weir_inference.core.spec_fields import Fields
from weir_kit.errors import Conflict, InvalidArgument, ModelNotFound

DOCUMENT = "the model decisions"
FORMAT = 1
MODELS_MAX = 4096
VERSIONS_MAX = 256
ALIASES_MAX = 64
VERSION_MAX = 999_999_999
KEYS = ("latest", "pinned", "all", "loaded", "unloaded", "aliases")


@dataclass(frozen=True)
class ModelDecisions:
    """On one model: the policy, what is loaded or unloaded beside it, and aliases."""

    policy: VersionPolicy = field(default_factory=Latest)
    loaded: frozenset[int] = frozenset()
    unloaded: frozenset[int] = frozenset()
    aliases: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def wanted(self, present: Collection[int]) -> tuple[int, ...]:
        """The present versions that should be loaded, ascending. What an alias needs is."""
        asked = {*chosen(self.policy, present), *self.loaded} - self.unloaded
        return tuple(sorted((asked | {*self.aliases.values()}) & {*present}))

    def load(self, version: int, present: Collection[int]) -> "ModelDecisions":
        """A version shall be loaded, whatever the policy. Raises `ModelNotFound`."""
        _check_present(version, present)
        _check_room(self.loaded | {version}, "version")
        return replace(self, loaded=self.loaded | {version}, unloaded=self.unloaded - {version})

    def unload(self, version: int) -> "ModelDecisions":
        """A version shall not be loaded. Raises `Conflict` while an alias points to it."""
        if held := sorted(alias for alias, at in self.aliases.items() if at == version):
            raise Conflict(f"version {version} is {', '.join(held)}: move that alias first")
        _check_room(self.unloaded | {version}, "version")
        return replace(self, loaded=self.loaded - {version}, unloaded=self.unloaded | {version})

    def point(self, alias: str, version: int, present: Collection[int]) -> "ModelDecisions":
        """An alias shall mean a version, which is loaded from now on.

        Raises `InvalidArgument` for what cannot be an alias, `ModelNotFound`.
        """
        if not is_alias(alias):
            raise InvalidArgument("an alias is 1..32 of a-z 0-9 -, a letter first", field="alias")
        _check_present(version, present)
        aliases = MappingProxyType({**self.aliases, alias: version})
        if len(aliases) > ALIASES_MAX:
            raise Conflict(f"a model has at most {ALIASES_MAX} aliases")
        return replace(self, aliases=aliases, unloaded=self.unloaded - {version})

    def drop_alias(self, alias: str) -> "ModelDecisions":
        """An alias shall mean nothing of its own. Raises `ModelNotFound`."""
        if alias not in self.aliases:
            raise ModelNotFound(f"no alias {alias!r} was set", field="alias")
        left = {name: version for name, version in self.aliases.items() if name != alias}
        return replace(self, aliases=MappingProxyType(left))

    def without(self, gone: Collection[int]) -> "ModelDecisions":
        """After versions were deleted: nothing is decided on them, no alias points to them."""
        left = {name: version for name, version in self.aliases.items() if version not in gone}
        return replace(
            self,
            loaded=self.loaded - {*gone},
            unloaded=self.unloaded - {*gone},
            aliases=MappingProxyType(left),
        )


def to_document(decisions: Mapping[str, ModelDecisions]) -> dict[str, object]:
    """As plain lists and mappings, in the order of the names."""
    models = {name: _plain(one) for name, one in sorted(decisions.items())}
    return {"format": FORMAT, "models": models}


def from_document(raw: object) -> dict[str, ModelDecisions]:
    """What `to_document` gave. Raises `InvalidArgument` naming the key at fault."""
    fields = Fields(raw, ("format", "models"), DOCUMENT)
    fields.required("format", fields.integer("format", FORMAT, FORMAT, None))
    models = fields.pairs("models", MODELS_MAX)
    for name in models:
        if not NAME.fullmatch(name):
            raise fields.error("models", "must have models' names as keys")
    inner = fields.inner("models", tuple(models))
    return {name: _decisions(inner.inner(name, KEYS)) for name in models}


def _plain(one: ModelDecisions) -> dict[str, object]:
    document: dict[str, object]
    match one.policy:
        case Latest(n):
            document = {"latest": n}
        case Pinned(versions):
            document = {"pinned": sorted(versions)}
        case AllVersions():
            document = {"all": True}
    document |= {"loaded": sorted(one.loaded), "unloaded": sorted(one.unloaded)}
    document |= {"aliases": dict(sorted(one.aliases.items()))}
    return document


def _decisions(fields: Fields) -> ModelDecisions:
    aliases = fields.pairs("aliases", ALIASES_MAX)
    if not all(map(is_alias, aliases)):
        raise fields.error("aliases", "must have aliases as keys")
    inner = fields.inner("aliases", tuple(aliases))
    return ModelDecisions(
        policy=_policy(fields),
        loaded=_versions(fields, "loaded"),
        unloaded=_versions(fields, "unloaded"),
        aliases=MappingProxyType(
            {
                name: inner.required(name, inner.integer(name, 1, VERSION_MAX, None))
                for name in aliases
            }
        ),
    )


def _policy(fields: Fields) -> VersionPolicy:
    if sum(key in fields for key in ("latest", "pinned", "all")) > 1:
        raise fields.error("", "must have one of latest, pinned and all")
    if "pinned" in fields:
        return Pinned(tuple(sorted(_versions(fields, "pinned"))))
    if fields.flag("all", False):
        return AllVersions()
    return Latest(fields.integer("latest", 1, VERSIONS_MAX, 1))


def _versions(fields: Fields, key: str) -> frozenset[int]:
    return frozenset(fields.integers(key, 1, VERSION_MAX, VERSIONS_MAX, n_min=0))


def _check_present(version: int, present: Collection[int]) -> None:
    if version not in present:
        raise ModelNotFound(f"there is no version {version}", field="version")


def _check_room(versions: Collection[int], field: str) -> None:
    if len(versions) > VERSIONS_MAX:
        raise Conflict(f"decisions hold for at most {VERSIONS_MAX} versions; set a policy")
