"""The cached list of models."""

import asyncio
from typing import Any

import pytest

from weir_gateway.core.models import TTL_S
from weir_kit.errors import ModelNotFound


async def test_the_list_is_asked_for_once_in_its_time(world: Any) -> None:
    await asyncio.gather(*(world.models_on_offer.get("tales") for _ in range(5)))
    assert world.models_asked == 1
    world.clock.advance(TTL_S)
    world.model_names = ("b", "a")
    assert [model.name for model in await world.models_on_offer.all()] == ["a", "b"]
    assert world.models_asked == 2


async def test_an_unknown_model_is_not_found(world: Any) -> None:
    with pytest.raises(ModelNotFound, match="nosuch") as caught:
        await world.models_on_offer.get("nosuch")
    assert caught.value.field == "model"
