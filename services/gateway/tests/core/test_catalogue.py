"""What a key may know without paying."""

from typing import Any

import pytest

from weir_gateway.core.call import Message
from weir_gateway.core.catalogue import Catalogue
from weir_kit.errors import InvalidArgument, ModelNotAllowed, ModelNotFound


@pytest.fixture
def catalogue(world: Any) -> Catalogue:
    world.model_names = ("tales", "rhymes")
    return Catalogue(world, world, world.models_on_offer)


async def test_a_key_sees_the_models_that_it_may_use(world: Any, catalogue: Catalogue) -> None:
    assert [m.name for m in await catalogue.models("key")] == ["rhymes", "tales"]
    world.allowed_models = frozenset({"tales", "gone"})
    assert [m.name for m in await catalogue.models("key")] == ["tales"]


async def test_a_model_that_the_key_may_not_use_is_not_found(
    world: Any, catalogue: Catalogue
) -> None:
    world.allowed_models = frozenset({"tales"})
    assert (await catalogue.model("key", "tales")).context_tokens == 512
    with pytest.raises(ModelNotFound):
        await catalogue.model("key", "rhymes")


async def test_an_adapters_tokens_are_counted_as_its_models(
    world: Any, catalogue: Catalogue
) -> None:
    world.base_models = {"rhymes": "tales"}
    assert await catalogue.count_tokens("key", "rhymes", "hello") == 5
    assert world.tokenizers == {"tales"}


async def test_counting_tokens_needs_a_model_that_the_key_may_use(
    world: Any, catalogue: Catalogue
) -> None:
    world.allowed_models = frozenset({"tales"})
    assert await catalogue.count_tokens("key", "tales", (Message("user", "hello"),)) == 5
    with pytest.raises(ModelNotAllowed):
        await catalogue.count_tokens("key", "rhymes", "hello")
    with pytest.raises(InvalidArgument) as caught:
        await catalogue.count_tokens("key", "tales", "")
    assert caught.value.field == "prompt"
