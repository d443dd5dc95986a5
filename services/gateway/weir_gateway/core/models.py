"""The models on offer."""

import asyncio

from weir_gateway.core.ports import Inference, Model
from weir_kit.clock import Clock
from weir_kit.errors import ModelNotFound

TTL_S = 5.0
TIMEOUT_S = 5.0


class Models:
    """What inference has loaded, asked for at most every `TTL_S` seconds."""

    def __init__(self, inference: Inference, clock: Clock) -> None:
        self._inference = inference
        self._clock = clock
        self._lock = asyncio.Lock()
        self._known: dict[str, Model] = {}
        self._fresh_until_s = float("-inf")

    async def all(self) -> tuple[Model, ...]:
        """Every model, by name. Raises `Unavailable` if inference is away."""
        return tuple((await self._fresh()).values())

    async def get(self, name: str) -> Model:
        """One model. Raises `ModelNotFound`."""
        known = await self._fresh()
        if name not in known:
            raise ModelNotFound(f"the model {name!r} does not exist", field="model")
        return known[name]

    async def _fresh(self) -> dict[str, Model]:
        if self._clock.monotonic_s() < self._fresh_until_s:
            return self._known
        async with self._lock:  # one asks, the others wait for its answer
            if self._clock.monotonic_s() >= self._fresh_until_s:
                models = await self._inference.models(TIMEOUT_S)
                self._known = {model.name: model for model in sorted(models, key=lambda m: m.name)}
                self._fresh_until_s = self._clock.monotonic_s() + TTL_S
        return self._known
