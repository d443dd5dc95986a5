"""The cached list of models."""

import asyncio
from typing import Any

import pytest

from weir_gateway.core.models import TTL_S, UNKNOWN_TTL_S
from weir_kit.errors import ModelNotFound


async def test_the_list_is_asked_for_once_in_its_time(world: Any) -> None:
    await asyncio.gather(*(world.models_on_offer.get("tales") for _ in range(5)))
    assert world.models_asked == 1
    world.clock.advance(TTL_S)
    world.model_names = ("b", "a")
    assert [model.name for model in await world.models_on_offer.all()] == ["a", "b"]
    assert world.models_asked == 2


async def test_a_model_that_is_new_is_found_before_the_list_is_old(world: Any) -> None:
    await world.models_on_offer.all()
    world.model_names = ("tales", "tuned")
    for _ in range(9):  # whoever asks for what there is not does not have inference asked each time
        with pytest.raises(ModelNotFound):
            await world.models_on_offer.get("tuned")
    assert world.models_asked == 1
    world.clock.advance(UNKNOWN_TTL_S)
    assert (await world.models_on_offer.get("tuned")).name == "tuned"
    assert world.models_asked == 2


async def test_an_unknown_model_is_not_found(world: Any) -> None:
    with pytest.raises(ModelNotFound, match="nosuch") as caught:
        await world.models_on_offer.get("nosuch")
    assert caught.value.field == "model"
