"""Which names are served, and by what: models by their engines, LoRA adapters by their model's."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from weir_inference.core.engine import Engine, ModelDescription
from weir_kit.errors import AlreadyExists, Conflict, InvalidArgument, ModelNotFound

ADAPTERS_MAX = 256
SOURCE_CHARS_MAX = 1024
NAME = re.compile(r"[A-Za-z0-9][\w.:/-]{0,127}", re.ASCII)


@dataclass
class ServedModel:
    """A name, its engine, and the adapter that requests for it apply; None for the model itself."""

    model: ModelDescription
    engine: Engine
    adapter: str | None = None
    n_users: int = 0
    leaving: bool = False
    unused: asyncio.Event = field(default_factory=asyncio.Event)


class ServedModels:
    """The names that a replica serves, each with how many calls use it."""

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._served = {name: ServedModel(one.model, one) for name, one in engines.items()}
        self._loading: set[str] = set()

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
        self._served[name] = ServedModel(model, base.engine, name)
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
            while served.n_users:
                served.unused.clear()
                await served.unused.wait()
        except BaseException:
            served.leaving = False
            raise
        # From here there is no way back: the engine may have freed it, whatever ends the call.
        try:
            await served.engine.unload_adapter(served.adapter)
        finally:
            del self._served[name]

    def _find(self, name: str, field: str) -> ServedModel:
        served = self._served.get(name)
        if served is None or served.leaving:
            raise ModelNotFound(f"this replica serves no model {name!r}", field=field)
        return served
