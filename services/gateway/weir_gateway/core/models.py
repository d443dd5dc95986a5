"""The models on offer."""

import asyncio

from weir_gateway.core.ports import Inference, Model
from weir_kit.clock import Clock
from weir_kit.errors import ModelNotFound

TTL_S = 5.0
UNKNOWN_TTL_S = 0.2
TIMEOUT_S = 5.0


class Models:
    """What inference has loaded, asked for at most every `TTL_S` seconds.

    Sooner, but not before `UNKNOWN_TTL_S`, for a name that is not known: it may be new.
    """

    def __init__(self, inference: Inference, clock: Clock) -> None:
        self._inference = inference
        self._clock = clock
        self._lock = asyncio.Lock()
        self._known: dict[str, Model] = {}
        self._asked_at_s = float("-inf")

    async def all(self) -> tuple[Model, ...]:
        """Every model, by name. Raises `Unavailable` if inference is away."""
        return tuple((await self._not_older(TTL_S)).values())

    async def get(self, name: str) -> Model:
        """One model. Raises `ModelNotFound`."""
        known = await self._not_older(TTL_S)
        if name not in known:
            known = await self._not_older(UNKNOWN_TTL_S)
        if name not in known:
            raise ModelNotFound(f"the model {name!r} does not exist", field="model")
        return known[name]

    async def _not_older(self, than_s: float) -> dict[str, Model]:
        if self._age_s() < than_s:
            return self._known
        async with self._lock:  # one asks, the others wait for its answer
            if self._age_s() >= than_s:
                models = await self._inference.models(TIMEOUT_S)
                self._known = {model.name: model for model in sorted(models, key=lambda m: m.name)}
                self._asked_at_s = self._clock.monotonic_s()
        return self._known

    def _age_s(self) -> float:
        return self._clock.monotonic_s() - self._asked_at_s
