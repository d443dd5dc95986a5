"""Versions come and go under calls, and no call notices but by the version that answers."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_inference.core.engine import ModelDescription
from weir_inference.core.hosted_model import OpenedModel
from weir_inference.core.model_changes import Change
from weir_inference.core.model_decisions import ModelDecisions
from weir_inference.core.model_host import ModelHost
from weir_inference.core.model_memory import NoRoom
from weir_inference.core.model_repository import Present
from weir_inference.core.model_versions import VersionKey
from weir_inference.core.served_models import ServedModels
from weir_inference.core.tensor_models import ModelState
from weir_kit.clock import ManualClock
from weir_kit.errors import Conflict, InvalidArgument, ModelNotFound

MODEL = ModelDescription("", "onnx", "", 0, 0, 0, "", 0.0, task="tensors")


class Talker:
    """An `Engine`, as far as a host has to do with it."""

    def __init__(self, model: ModelDescription) -> None:
        self.model = model
        self.adapters: list[tuple[str, str]] = []

    async def load_adapter(self, name: str, source: str) -> ModelDescription:
        await asyncio.sleep(0)
        if source == "bad":
            raise InvalidArgument("it does not fit", field="source")
        self.adapters.append((name, source))
        return replace(self.model, name=name, base_model=self.model.name)


@dataclass
class Shelf:
    """A `Repository` in memory: what is open, what is broken, and how much each holds."""

    versions: dict[str, dict[int, Present]] = field(default_factory=dict)
    broken: set[VersionKey] = field(default_factory=set)
    saved: Mapping[str, ModelDecisions] = field(default_factory=dict)
    open_now: list[VersionKey] = field(default_factory=list)
    opened: list[VersionKey] = field(default_factory=list)

    async def present(self) -> Mapping[str, Mapping[int, Present]]:
        return {name: dict(versions) for name, versions in self.versions.items()}

    async def fetch(self, name: str, version: int, source: str) -> None:
        if source == "bad":
            raise InvalidArgument("a pickle", field="source")
        self.put(name, version)

    def put(self, name: str, *versions: int, memory_mb: int = 10) -> None:
        for version in versions:
            self.versions.setdefault(name, {})[version] = Present(memory_mb)

    @asynccontextmanager
    async def open(self, key: VersionKey) -> AsyncIterator[OpenedModel]:
        await asyncio.sleep(0)
        if key in self.broken:
            raise InvalidArgument(f"{key} is broken", field="source")
        self.opened.append(key)
        self.open_now.append(key)
        description = replace(MODEL, name=key.name, version=str(key.version))
        engine: Any = Talker(description) if key.name == "talk" else None
        memory_mb = self.versions[key.name][key.version].memory_mb
        yield OpenedModel(description, memory_mb, engine=engine)
        await asyncio.sleep(0)
        self.open_now.remove(key)

    async def decisions(self) -> Mapping[str, ModelDecisions]:
        return self.saved

    async def save(self, decisions: Mapping[str, ModelDecisions]) -> None:
        self.saved = dict(decisions)


@asynccontextmanager
async def hosting(
    shelf: Shelf,
    budget_mb: int = 1000,
    models: ServedModels | None = None,
    required: tuple[str, ...] = (),
) -> AsyncIterator[ModelHost]:
    models = ServedModels({}) if models is None else models
    host = ModelHost(shelf, models, ManualClock(), budget_mb, required)
    async with host.running():
        yield host
    assert shelf.open_now == [], "all is freed"


def served(host: ModelHost) -> list[str]:
    return [str(hosted.key) for hosted in host.hosted]


async def version_of(host: ModelHost, name: str, version: str = "") -> int:
    async with host.using(name, version) as hosted:
        return hosted.key.version


async def test_the_newest_version_of_each_model_is_served() -> None:
    shelf = Shelf()
    shelf.put("a", 1, 3, 12)
    shelf.put("b", 2)
    async with hosting(shelf) as host:
        assert served(host) == ["a@12", "b@2"]
        assert await version_of(host, "a") == await version_of(host, "a", "12") == 12
        with pytest.raises(ModelNotFound):
            await version_of(host, "a", "3")
        with pytest.raises(ModelNotFound):
            await version_of(host, "c")


async def test_a_change_fails_no_call_and_none_sees_two_versions() -> None:
    """Versions are replaced as fast as can be while sixteen callers never pause."""
    shelf = Shelf()
    shelf.put("a", 1)
    answered: list[int] = []
    async with hosting(shelf) as host:
        done = asyncio.Event()

        async def call_on() -> None:
            while not done.is_set():
                async with host.using("a") as hosted:
                    for _ in range(3):
                        assert hosted.key in shelf.open_now, "what is used is not freed"
                        await asyncio.sleep(0)
                    answered.append(hosted.key.version)

        callers = [asyncio.create_task(call_on()) for _ in range(16)]
        for version in range(2, 40):
            await host.load("a", source="somewhere")
            assert await version_of(host, "a") == version
        done.set()
        await asyncio.gather(*callers)
        assert served(host) == ["a@39"]
    assert len(set(answered)) > 9
    assert len(answered) > 200


async def test_a_version_that_makes_room_for_its_own_successor_fails_no_call() -> None:
    shelf = Shelf()
    shelf.put("a", 1, memory_mb=60)
    async with hosting(shelf, budget_mb=100) as host:
        shelf.put("a", 2, memory_mb=60)
        loading = asyncio.create_task(host.load("a"))
        answered = await asyncio.gather(*(version_of(host, "a") for _ in range(5)))
        await loading
        assert set(answered) <= {1, 2}
        assert await version_of(host, "a") == 2


async def test_what_cannot_be_loaded_changes_nothing() -> None:
    shelf = Shelf(broken={VersionKey("a", 2)})
    shelf.put("a", 1)
    async with hosting(shelf) as host:
        with pytest.raises(InvalidArgument, match="pickle"):
            await host.load("a", source="bad")
        shelf.put("a", 2)
        for _ in range(2):
            with pytest.raises(InvalidArgument, match="broken"):
                await host.load("a")
            assert served(host) == ["a@1"]
        states = {entry.version: (entry.state, entry.reason) for entry in host.index()}
        assert states["1"] == (ModelState.READY, "")
        assert states["2"] == (ModelState.UNAVAILABLE, "a@2 is broken")
    async with hosting(shelf) as host:  # a restart: the older version was not wanted any more
        assert served(host) == []


async def test_decisions_survive_a_restart() -> None:
    shelf = Shelf()
    shelf.put("a", 1, 2, 3)
    shelf.put("b", 1)
    async with hosting(shelf) as host:
        await host.load("a", 1)
        await host.point("a", "stable", 1)
        await host.unload("b")
        assert await version_of(host, "a") == 1
        assert await version_of(host, "a", "3") == 3
    async with hosting(shelf) as host:
        assert served(host) == ["a@1", "a@3"]
        assert await version_of(host, "a", "stable") == await version_of(host, "a") == 1
        with pytest.raises(Conflict):
            await host.unload("a", 1)
        await host.point("a", "stable", None)
        await host.unload("a", 1)
        assert served(host) == ["a@3"]
        with pytest.raises(ModelNotFound):
            await host.unload("b")


async def test_unloading_waits_for_the_calls() -> None:
    shelf = Shelf()
    shelf.put("a", 1)
    async with hosting(shelf) as host:
        async with host.using("a"):
            unloading = asyncio.create_task(host.unload("a"))
            for _ in range(5):
                await asyncio.sleep(0)
            with pytest.raises(ModelNotFound):
                await version_of(host, "a")
            assert not unloading.done()
            assert shelf.open_now == [VersionKey("a", 1)]
        await unloading


async def test_idle_versions_make_room_and_come_back_when_called() -> None:
    shelf = Shelf()
    for name in "abc":
        shelf.put(name, 1, memory_mb=40)
    async with hosting(shelf, budget_mb=100) as host:
        assert served(host) == ["b@1", "c@1"]
        assert [model.name for model in host.reachable] == ["a", "b", "c"]
        assert host.index()[0].state is ModelState.UNAVAILABLE
        async with host.using("b"):
            assert await version_of(host, "a") == 1  # c goes: b is in use
            assert served(host) == ["a@1", "b@1"]
            async with host.using("a"):
                with pytest.raises(NoRoom):
                    await version_of(host, "c")
        assert await version_of(host, "c") == 1


async def test_many_calls_for_a_sleeping_version_load_it_once() -> None:
    shelf = Shelf()
    shelf.put("a", 1, memory_mb=60)
    shelf.put("b", 1, memory_mb=60)
    async with hosting(shelf, budget_mb=100) as host:
        assert served(host) == ["b@1"]
        shelf.opened.clear()
        assert await asyncio.gather(*(version_of(host, "a") for _ in range(9))) == [1] * 9
        assert shelf.opened == [VersionKey("a", 1)]


async def test_what_generates_is_replaced_under_calls_with_its_adapters() -> None:
    shelf, models = Shelf(), ServedModels({})
    shelf.put("talk", 1)
    answered: set[str] = set()
    async with hosting(shelf, models=models) as host:
        await models.load_adapter("tuned", "talk", "somewhere")
        done = asyncio.Event()

        async def call_on(name: str) -> None:
            while not done.is_set():
                with models.using(name) as one:
                    for _ in range(3):
                        version = one.engine.model.version
                        assert VersionKey("talk", int(version)) in shelf.open_now
                        await asyncio.sleep(0)
                    answered.add(version)

        callers = [asyncio.create_task(call_on(name)) for name in ("talk", "tuned") * 4]
        for _ in range(2, 20):
            await host.load("talk", source="somewhere")
        done.set()
        await asyncio.gather(*callers)
        with models.using("tuned") as one:
            assert (one.engine.model.version, one.source) == ("19", "somewhere")
    assert len(answered) > 5


async def test_a_name_that_generates_is_the_version_that_it_means() -> None:
    shelf, models = Shelf(), ServedModels({})
    shelf.put("talk", 1, 2)

    def answers() -> str:
        with models.using("talk") as one:
            return one.model.version

    async with hosting(shelf, models=models) as host:
        await host.load("talk", 1)
        assert answers() == "2", "the newest"
        await host.point("talk", "stable", 1)
        assert answers() == "1"
        await host.point("talk", "stable", None)
        assert answers() == "2"
        await host.unload("talk", 2)
        assert answers() == "1", "what is left"
        await host.unload("talk")
        with pytest.raises(ModelNotFound):
            answers()


async def test_a_version_that_an_adapter_does_not_fit_replaces_nothing() -> None:
    shelf, models = Shelf(), ServedModels({})
    shelf.put("talk", 1)
    async with hosting(shelf, models=models) as host:
        await models.load_adapter("tuned", "talk", "somewhere")
        models._served["tuned"].source = "bad"
        with pytest.raises(InvalidArgument, match="fit"):
            await host.load("talk", source="somewhere")
        assert served(host) == ["talk@1"]
        assert shelf.open_now == [VersionKey("talk", 1)]
        with models.using("tuned") as one:
            assert one.engine.model.version == "1"


async def test_a_required_model_is_there_or_nothing_is() -> None:
    shelf = Shelf(broken={VersionKey("talk", 1)})
    shelf.put("talk", 1)
    with pytest.raises(InvalidArgument, match="broken"):
        async with hosting(shelf, required=("talk",)):
            raise AssertionError("it runs")
    shelf.broken.clear()
    async with hosting(shelf, required=("talk",)) as host:
        with pytest.raises(Conflict):
            await host.unload("talk")
        assert served(host) == ["talk@1"]


async def test_watchers_hear_what_is_served_and_every_change() -> None:
    shelf = Shelf()
    shelf.put("a", 1)

    async def heard(changes: AsyncGenerator[Change, None], n: int) -> list[tuple[str, bool]]:
        told = []
        while len(told) < n:
            change = await anext(changes)
            told.append((change.model.version, change.served))
        return told

    async with hosting(shelf) as host, aclosing(host.watch()) as changes:
        assert await heard(changes, 1) == [("1", True)]
        await host.load("a", source="somewhere")
        assert await heard(changes, 2) == [("2", True), ("1", False)]


STEPS = st.lists(
    st.tuples(st.sampled_from(["load", "unload", "call", "leave", "put"]), st.integers(1, 4)),
    max_size=30,
)


class Operators:
    """Load, unload and call at random, within a budget of two versions and a half."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.shelf.put("a", 1, 2, memory_mb=40)
        self.shelf.put("b", 1, memory_mb=40)
        self.calls: list[AsyncGenerator[None, None]] = []
        self.unloading: list[asyncio.Task[None]] = []

    async def act(self, steps: list[tuple[str, int]]) -> None:
        async with hosting(self.shelf, budget_mb=100) as host:
            for what, n in steps:
                with suppress(ModelNotFound, NoRoom):
                    await self.step(host, what, "ab"[n % 2], n)
                for one in self.calls:
                    await anext(one)
                await asyncio.sleep(0)
                assert sum(hosted.opened.memory_mb for hosted in host.hosted) <= 100
            for one in self.calls:
                await one.aclose()
            await asyncio.gather(*self.unloading, return_exceptions=True)

    async def step(self, host: ModelHost, what: str, name: str, n: int) -> None:
        match what:
            case "load":
                await host.load(name, n)
            case "unload":
                self.unloading.append(asyncio.create_task(host.unload(name, n)))
            case "put":
                self.shelf.put(name, n, memory_mb=40)
            case "call":
                call = self.call(host, name)
                await anext(call)
                self.calls.append(call)
            case "leave" if self.calls:
                await self.calls.pop(0).aclose()

    async def call(self, host: ModelHost, name: str) -> AsyncGenerator[None, None]:
        async with host.using(name) as hosted:
            while hosted.key in self.shelf.open_now:
                yield
            raise AssertionError("freed in use")


@given(STEPS)
def test_whatever_operators_do_memory_is_kept_and_calls_keep_their_version(
    steps: list[tuple[str, int]],
) -> None:
    asyncio.run(Operators().act(steps))
