"""Which names are served, and by what: models by their engines, LoRA adapters by their model's."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from weir_inference.core.engine import Engine, ModelDescription
from weir_inference.core.model_versions import NAME
from weir_kit.errors import AlreadyExists, Conflict, InvalidArgument, ModelNotFound

ADAPTERS_MAX = 256
SOURCE_CHARS_MAX = 1024


@dataclass
class ServedModel:
    """A name, its engine, and the adapter that requests for it apply; None for the model itself."""

    model: ModelDescription
    engine: Engine
    adapter: str | None = None
    source: str = ""  # of the adapter
    n_users: int = 0
    leaving: bool = False
    unused: asyncio.Event = field(default_factory=asyncio.Event)

    async def drained(self) -> None:
        """Wait until no call uses it."""
        while self.n_users:
            self.unused.clear()
            await self.unused.wait()


class ServedModels:
    """The names that a replica serves, each with how many calls use it."""

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._served = {name: ServedModel(one.model, one) for name, one in engines.items()}
        self._loading: set[str] = set()

    @property
    def engines(self) -> list[Engine]:
        """Those that new calls may reach, each once."""
        return [one.engine for one in self._served.values() if one.adapter is None]

    @property
    def descriptions(self) -> list[ModelDescription]:
        """All that new calls may name, in the order of the names."""
        return [one.model for _, one in sorted(self._served.items()) if not one.leaving]

    @contextmanager
    def using(self, name: str) -> Iterator[ServedModel]:
        """What serves the name; it stays while this is entered. Raises `ModelNotFound`."""
        served = self._find(name, "model")
        served.n_users += 1
        try:
            yield served
        finally:
            served.n_users -= 1
            if served.n_users == 0:
                served.unused.set()

    async def serve(self, model: ModelDescription, engine: Engine) -> list[ServedModel]:
        """Serve a model by an engine from now on, with the adapters of what served it before.

        What served it before is returned: it is in use until it is drained. Raises what
        `Engine.load_adapter` says, and then nothing has changed.
        """
        name = model.name
        taken = self._served.get(name)
        if taken is not None and taken.adapter is not None:
            raise AlreadyExists(f"the name {name!r} is an adapter's", field="name")
        adapters = [one for one in self._served.values() if taken and one.engine is taken.engine]
        taking_over = [ServedModel(model, engine)]
        for one in adapters:
            if one.adapter is not None and not one.leaving:
                adapter = await engine.load_adapter(one.adapter, one.source)
                taking_over.append(ServedModel(adapter, engine, one.adapter, one.source))
        self._served |= {one.model.name: one for one in taking_over}
        return adapters

    def withdraw(self, name: str) -> list[ServedModel]:
        """Serve a model and its adapters no longer; they are in use until they are drained.

        Raises `ModelNotFound`.
        """
        engine = self._find(name, "name").engine
        leaving = [one for one in self._served.values() if one.engine is engine]
        for one in leaving:
            del self._served[one.model.name]
        return leaving

    async def load_adapter(self, name: str, base_model: str, source: str) -> ModelDescription:
        """Serve an adapter of a model under a name.

        Raises `AlreadyExists`, `Conflict` when there are `ADAPTERS_MAX`, `ModelNotFound` for the
        model, `InvalidArgument`, and what `Engine.load_adapter` says.
        """
        base = self._find(base_model, "base_model")
        if base.adapter is not None:
            raise InvalidArgument("an adapter has no adapters", field="base_model")
        if not NAME.fullmatch(name):
            raise InvalidArgument("a name is 1 to 128 of A-Z a-z 0-9 _ . : / -", field="name")
        if not 1 <= len(source) <= SOURCE_CHARS_MAX:
            raise InvalidArgument("source must be a folder or a hub id", field="source")
        if name in self._served or name in self._loading:
            raise AlreadyExists(f"the name {name!r} is taken", field="name")
        n_adapters = sum(one.adapter is not None for one in self._served.values())
        if n_adapters + len(self._loading) >= ADAPTERS_MAX:
            raise Conflict(f"a replica serves at most {ADAPTERS_MAX} adapters")
        self._loading.add(name)
        try:
            model = await base.engine.load_adapter(name, source)
        finally:
            self._loading.discard(name)
        if self._served.get(base_model) is not base:
            raise Conflict(f"the model {base_model!r} was replaced meanwhile; try again")
        self._served[name] = ServedModel(model, base.engine, name, source)
        return model

    async def unload_adapter(self, name: str) -> None:
        """Serve an adapter no longer: new calls are refused, this waits for those that run.

        Cancelled while it waits, it changes nothing. Raises `ModelNotFound`.
        """
        served = self._find(name, "name")
        if served.adapter is None:
            raise ModelNotFound(f"{name!r} is a model, not an adapter", field="name")
        served.leaving = True
        try:
            await served.drained()
        except BaseException:
            served.leaving = False
            raise
        # From here there is no way back: the engine may have freed it, whatever ends the call.
        try:
            await served.engine.unload_adapter(served.adapter)
        finally:
            if self._served.get(name) is served:  # or the model was replaced or unloaded meanwhile
                del self._served[name]

    def _find(self, name: str, field: str) -> ServedModel:
        served = self._served.get(name)
        if served is None or served.leaving:
            raise ModelNotFound(f"this replica serves no model {name!r}", field=field)
        return served
