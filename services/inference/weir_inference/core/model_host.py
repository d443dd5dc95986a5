"""Which versions of which models are loaded: wanted ones are, idle ones make room, none is dropped.

A new version is loaded and warm before a call can reach it; one that goes is out of reach before it
is freed, and is freed when its last call has ended. So a change fails no call. A version that
cannot be loaded changes nothing but what the index says of it.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from weir_inference.core.engine import ModelDescription
from weir_inference.core.hosted_model import HostedModel
from weir_inference.core.model_changes import Change, ModelChanges
from weir_inference.core.model_decisions import ModelDecisions
from weir_inference.core.model_memory import LoadedVersion, unloads_for
from weir_inference.core.model_repository import Present, Repository
from weir_inference.core.model_versions import Reference, VersionKey, aliases_of, reference, resolve
from weir_inference.core.served_models import ServedModels
from weir_inference.core.tensor_models import IndexEntry, ModelState
from weir_kit.clock import Clock
from weir_kit.errors import Conflict, ModelNotFound, WeirError

log = logging.getLogger(__name__)

DRAIN_S = 600.0


@dataclass
class _Name:
    """What is known of a model. `asleep` are versions that made room and come back when called."""

    present: Mapping[int, Present] = field(default_factory=dict)
    hosted: dict[int, HostedModel] = field(default_factory=dict)
    claimed: dict[int, tuple[str, ...]] = field(default_factory=dict)  # aliases
    asleep: dict[int, ModelDescription] = field(default_factory=dict)
    loading: set[int] = field(default_factory=set)
    faults: dict[int, str] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class ModelHost:
    """The versions of a repository, loaded as decided, within `budget_mb` MiB.

    What generates is also given to `served`: under a name, the version that the name means. Models
    that are `required` are there as long as it runs. All methods belong to one event loop.
    """

    def __init__(
        self,
        repository: Repository,
        served: ServedModels,
        clock: Clock,
        budget_mb: int,
        required: Collection[str] = (),
    ) -> None:
        self._repository = repository
        self._served = served
        self._clock = clock
        self._budget_mb = budget_mb
        self._required = required
        self._names: dict[str, _Name] = {}
        self._decisions: dict[str, ModelDecisions] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._changes = ModelChanges()
        self._room = asyncio.Lock()  # memory is counted by one load at a time
        self._resolved: dict[tuple[str, str], VersionKey] = {}  # since the last change

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["ModelHost", None]:
        """Load what is wanted; on leaving, free all.

        What cannot be loaded is told in the log; for a model that is required, it is raised.
        """
        try:
            self._decisions = dict(await self._repository.decisions())
            await self._scan()
            for name in sorted(self._names):
                await self._reconcile(name)
            yield self
        finally:
            for hosted in self.hosted:
                self._retire(hosted.key)
            await asyncio.gather(*self._retiring, return_exceptions=True)

    @asynccontextmanager
    async def using(self, name: str, version: str = "") -> AsyncGenerator[HostedModel, None]:
        """The version that a call means; it stays while this is entered.

        `version` is a number or an alias, "" the usual one; `name` may say it too, after an @.
        Loads one that is asleep. Raises `ModelNotFound`, `NoRoom`, and what loading raises.
        """
        while True:  # what is meant may change while a version wakes
            key = self._resolve(name, version)
            hosted = self._names[key.name].hosted.get(key.version)
            if hosted is not None:
                break
            await self._wake(key)
        hosted.n_users += 1
        hosted.used_at_s = self._clock.monotonic_s()
        try:
            yield hosted
        finally:
            hosted.n_users -= 1
            if hosted.n_users == 0:
                hosted.unused.set()

    async def load(self, name: str, version: int | None = None, source: str = "") -> HostedModel:
        """Serve a version from now on, and after a restart; the newest in the repository if None.

        From a `source` it is brought into the repository first, as the next version if None.
        Returns when it is served. Raises `ModelNotFound`, `NoRoom`, and what keeps it from loading;
        then what was served is served on.
        """
        if source:
            version = version or max(self._names.get(name, _Name()).present, default=0) + 1
            await self._repository.fetch(name, version, source)
        await self._scan()
        state = self._find(name)
        version = version or max(state.present)
        decided = self._decision(name)
        if version not in decided.wanted(state.present):
            decided = decided.load(version, state.present)
        async with state.lock:
            hosted = await self._host(VersionKey(name, version))
        await self._decide(name, decided)
        await self._reconcile(name)
        return hosted

    async def point(self, name: str, alias: str, version: int | None) -> None:
        """Let an alias mean a version, loaded first, also after a restart; None drops the alias.

        Raises `ModelNotFound`, `InvalidArgument`, and what keeps the version from loading.
        """
        state = self._find(name)
        if version is None:
            decided = self._decision(name).drop_alias(alias)
        else:
            decided = self._decision(name).point(alias, version, state.present)
            async with state.lock:
                await self._host(VersionKey(name, version))
        await self._decide(name, decided)
        await self._reconcile(name)

    async def unload(self, name: str, version: int | None = None) -> None:
        """Serve a version, or all of a model, no longer, also after a restart.

        Returns when their calls have ended. Raises `ModelNotFound`, `Conflict` for a version that
        an operator's alias points to, and for a model that is required.
        """
        state = self._find(name)
        if name in self._required:
            raise Conflict(f"{name!r} is served as long as this replica runs", field="name")
        known = {*state.hosted, *state.asleep}
        going = known if version is None else known & {version}
        if not going:
            field = "name" if version is None else "version"
            raise ModelNotFound(f"{name!r} is not loaded", field=field)
        decided = self._decision(name)
        for one in sorted(going):
            decided = decided.unload(one)
        await self._decide(name, decided)
        leaving = [state.hosted[one] for one in going if one in state.hosted]
        await self._reconcile(name)
        for hosted in leaving:
            await hosted.drained()

    @property
    def hosted(self) -> list[HostedModel]:
        """All versions that calls can reach without waiting, by name and number."""
        names = sorted(self._names.items())
        return [one for _, state in names for _, one in sorted(state.hosted.items())]

    @property
    def reachable(self) -> list[ModelDescription]:
        """What answers to each name without a version, awake or asleep, in the names' order."""
        return [
            self._described(self._resolve(name, ""))
            for name, state in sorted(self._names.items())
            if state.hosted or state.asleep
        ]

    def awake(self, name: str, version: str = "") -> HostedModel:
        """The version that a call means, if none must be loaded for it. Raises `ModelNotFound`."""
        key = self._resolve(name, version)
        hosted = self._names[key.name].hosted.get(key.version)
        if hosted is None:
            raise ModelNotFound(f"{key} is asleep: a call loads it", field="model")
        return hosted

    def knows(self, name: str, version: str = "") -> bool:
        """Whether a call would find what it means, awake or asleep."""
        try:
            self._resolve(name, version)
        except WeirError:
            return False
        return True

    def index(self) -> list[IndexEntry]:
        """Every version in the repository, by name and number."""
        return [
            self._entry(VersionKey(name, version), state)
            for name, state in sorted(self._names.items())
            for version in sorted({*state.present, *state.hosted, *state.faults})
        ]

    def watch(self) -> AsyncGenerator[Change, None]:
        """See `ModelChanges.watch`."""
        return self._changes.watch(one.opened.description for one in self.hosted)

    # ---- names and numbers ---------------------------------------------------------------------

    def _find(self, name: str) -> _Name:
        state = self._names.get(name)
        if state is None:
            raise ModelNotFound(f"this replica has no model {name!r}", field="name")
        return state

    def _described(self, key: VersionKey) -> ModelDescription:
        state = self._names[key.name]
        hosted = state.hosted.get(key.version)
        return state.asleep[key.version] if hosted is None else hosted.opened.description

    def _resolve(self, name: str, version: str) -> VersionKey:
        key = self._resolved.get((name, version))
        if key is None:
            key = self._resolved[name, version] = self._resolve_anew(name, version)
        return key

    def _resolve_anew(self, name: str, version: str) -> VersionKey:
        wanted = reference(f"{name}@{version}" if version else name)
        state = self._names.get(wanted.name)
        if state is None:
            raise ModelNotFound(f"this replica serves no model {wanted.name!r}", field="model")
        return self._meant(wanted, {*state.hosted, *state.asleep})

    def _meant(self, wanted: Reference, among: Collection[int]) -> VersionKey:
        claimed, decided = self._names[wanted.name].claimed, self._decision(wanted.name).aliases
        return resolve(wanted, aliases_of(claimed, decided, among), among)

    def _decision(self, name: str) -> ModelDecisions:
        return self._decisions.get(name, ModelDecisions())

    async def _decide(self, name: str, decided: ModelDecisions) -> None:
        decisions = {**self._decisions, name: decided}
        await self._repository.save(decisions)
        self._decisions = decisions
        self._resolved.clear()

    def _entry(self, key: VersionKey, state: _Name) -> IndexEntry:
        number, version = key.version, str(key.version)
        if number in state.hosted:
            return IndexEntry(key.name, version, ModelState.READY)
        if number in state.loading:
            return IndexEntry(key.name, version, ModelState.LOADING)
        if number in state.asleep:
            reason = "made room for others; a call loads it"
        else:
            reason = state.faults.get(number, "not loaded")
        return IndexEntry(key.name, version, ModelState.UNAVAILABLE, reason)

    async def _scan(self) -> None:
        present = await self._repository.present()
        self._resolved.clear()
        for name in {*present, *self._names}:
            state = self._names.setdefault(name, _Name())
            state.present = present.get(name, {})
        for name in [name for name, one in self._names.items() if not (one.present or one.hosted)]:
            del self._names[name]

    # ---- loading and freeing -------------------------------------------------------------------

    async def _reconcile(self, name: str) -> None:
        """Load the versions that are wanted, then let go of the others."""
        state = self._names.get(name)
        if state is None:
            return
        async with state.lock:
            wanted = self._decision(name).wanted(state.present)
            for version in wanted:
                if version in state.hosted or version in state.asleep:
                    continue
                try:
                    await self._host(VersionKey(name, version))
                except WeirError as error:
                    if name in self._required and not state.hosted:
                        raise
                    log.error("%s@%d is not served: %s", name, version, error.message)
            # While nothing of what is wanted can be loaded, what is there serves on.
            there = [one for one in wanted if one in state.hosted or one in state.asleep]
            if wanted and not there:
                return
            await self._serve(name, there)
            for version in [one for one in state.hosted if one not in wanted]:
                self._retire(VersionKey(name, version))
            state.asleep = {one: told for one, told in state.asleep.items() if one in wanted}
            self._resolved.clear()

    async def _wake(self, key: VersionKey) -> None:
        state = self._names[key.name]
        async with state.lock:
            if key.version in state.asleep:
                await self._host(key)

    async def _host(self, key: VersionKey) -> HostedModel:
        """Load a version beside what is served, then let calls reach it. Holds the name's lock."""
        state = self._names[key.name]
        if key.version in state.hosted:
            return state.hosted[key.version]
        state.loading.add(key.version)
        closing = AsyncExitStack()
        try:
            async with self._room:
                present = state.present.get(key.version)
                self._make_room(key, present.memory_mb if present else 0)
                opened = await closing.enter_async_context(self._repository.open(key))
            hosted = HostedModel(key, opened, closing, self._clock.monotonic_s())
            state.hosted[key.version], state.claimed[key.version] = hosted, opened.aliases
            await self._serve(key.name, {*state.hosted, *state.asleep})
        except BaseException as error:
            state.hosted.pop(key.version, None)
            await closing.aclose()
            if isinstance(error, WeirError):
                state.faults[key.version] = error.message
            raise
        finally:
            state.loading.discard(key.version)
            self._resolved.clear()
        state.faults.pop(key.version, None)
        state.asleep.pop(key.version, None)
        self._changes.tell(Change(opened.description, served=True))
        return hosted

    async def _serve(self, name: str, among: Collection[int]) -> None:
        """Let generations have the version of these that the name means, if it generates."""
        state = self._names[name]
        if not among:
            return
        meant = state.hosted.get(self._meant(Reference(name), among).version)
        engine = meant.opened.engine if meant is not None else None
        if meant is None or engine is None or engine in self._served.engines:
            return
        replaced = await self._served.serve(meant.opened.description, engine)
        for hosted in state.hosted.values():
            mine = [one for one in replaced if one.engine is hosted.opened.engine]
            hosted.withdrawn.extend(mine)

    def _make_room(self, key: VersionKey, needed_mb: int) -> None:
        """Put idle versions to sleep. Raises `NoRoom`."""
        loaded = [
            LoadedVersion(
                hosted.key,
                hosted.opened.memory_mb,
                hosted.used_at_s,
                hosted.n_users,
                pinned=hosted.opened.engine is not None,
            )
            for hosted in self.hosted
        ]
        for going in unloads_for(key, needed_mb, loaded, self._budget_mb):
            state = self._names[going.name]
            state.asleep[going.version] = state.hosted[going.version].opened.description
            self._retire(going)

    def _retire(self, key: VersionKey) -> None:
        """Let no new call reach a version, and free it when its last call has ended."""
        hosted = self._names[key.name].hosted.pop(key.version)
        self._resolved.clear()
        if hosted.opened.engine in self._served.engines:
            hosted.withdrawn.extend(self._served.withdraw(key.name))
        self._changes.tell(Change(hosted.opened.description, served=False))
        task = asyncio.create_task(self._free(hosted))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _free(self, hosted: HostedModel) -> None:
        try:
            async with asyncio.timeout(DRAIN_S):
                await hosted.drained()
        except TimeoutError:
            log.warning("%s is freed under calls that run for over %g s", hosted.key, DRAIN_S)
        await hosted.closing.aclose()
