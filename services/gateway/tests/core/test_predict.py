"""The life of one prediction, over peers in memory."""

from typing import Any

import pytest

from weir_gateway.core.call import Money, Work
from weir_gateway.core.prediction import Pictures, RerankQuery, Tensors, Texts
from weir_kit.errors import (
    Conflict,
    ContentBlocked,
    Internal,
    InvalidArgument,
    ModelNotFound,
    WeirError,
)


async def test_a_prediction_goes_through_every_peer_and_is_charged_for_its_work(world: Any) -> None:
    predicted = await world.ask()
    assert predicted.answer.content == ["answer", "answer"]
    assert (predicted.cost, predicted.rate_limit.limit) == (Money(2, "USD"), 60)
    assert world.reserved_work == [Work(1, 2, 60_000_000)]
    assert world.settled == [Work(1, 2, 700)] and world.releases == 0
    [record] = world.records
    assert (record.outcome, record.model_version) == ("stop", "3")
    assert (record.used, record.charged) == (Work(1, 2, 700), Money(2, "USD"))


async def test_the_model_reads_the_texts_that_rules_left(world: Any) -> None:
    world.redacted_texts = ("what?", "a", "b")
    predicted = await world.ask(input=RerankQuery("what@", ("a@", "b@")))
    assert world.predicted[0].input == RerankQuery("what?", ("a", "b")) == predicted.input
    world.redacted_texts = ("*",)
    await world.ask(input=Texts(("@",)), request_id="req_2")
    assert world.predicted[1].input == Texts(("*",))


async def test_tensors_that_a_rule_would_redact_are_refused_and_free(world: Any) -> None:
    world.redacted_texts = ("*",)
    with pytest.raises(ContentBlocked, match="redacts"):
        await world.ask(input=Tensors("as it came", ("@",), 1))
    await world.closings.drain()
    assert world.holds == {} and world.predicted == []
    assert [record.outcome for record in world.records] == ["CONTENT_BLOCKED"]


async def test_tensors_that_rules_leave_alone_go_as_they_came(world: Any) -> None:
    world.redacted_texts = ("fine",)
    asked = Tensors(object(), ("fine",), 3)
    await world.ask(input=asked)
    assert world.predicted[0].input is asked
    assert world.reserved_work[0].items == 3


async def test_a_policy_that_loses_a_text_is_not_believed(world: Any) -> None:
    world.redacted_texts = ("one",)
    with pytest.raises(Internal, match="number of texts"):
        await world.ask()


async def test_a_model_that_generates_is_not_asked_for_a_prediction_nor_the_other_way(
    world: Any,
) -> None:
    with pytest.raises(InvalidArgument, match="'tales' does generation") as caught:
        await world.ask(model="tales")
    assert caught.value.field == "model"
    with pytest.raises(InvalidArgument, match="'moods' does text-classification") as caught:
        await world.run(model="moods", request_id="req_2")
    assert caught.value.field == "model"
    await world.closings.drain()
    assert world.holds == {} and world.engines_started == 0 == len(world.predicted)


async def test_a_model_of_another_task_than_those_wanted_is_refused(world: Any) -> None:
    with pytest.raises(InvalidArgument, match="needs one for embedding or rerank") as caught:
        await world.ask(tasks=("embedding", "rerank"))
    assert caught.value.field == "model"
    await world.closings.drain()


async def test_a_version_that_a_generating_model_does_not_have_is_not_found(world: Any) -> None:
    with pytest.raises(ModelNotFound, match="version '3' is loaded") as caught:
        await world.run(version="2")
    assert caught.value.field == "version"
    await world.run(version="3", request_id="req_2")
    assert [record.model_version for record in world.records] == ["", "3"]


async def test_one_id_is_charged_once(world: Any) -> None:
    await world.ask()
    with pytest.raises(Conflict) as caught:
        await world.ask()
    assert caught.value.field == "request_id"
    await world.closings.drain()
    assert len(world.settled) == 1 and len(world.predicted) == 1


async def test_a_prediction_and_a_generation_do_not_share_an_id_at_once(world: Any) -> None:
    generation = world.generation.generate(world.call())
    await anext(generation)
    with pytest.raises(Conflict):
        await world.ask()
    await generation.aclose()
    await world.closings.drain()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"request_id": "no blanks"}, "request_id"),
        ({"model": ""}, "model"),
        ({"version": "v" * 65}, "version"),
        ({"input": Texts(())}, "texts"),
        ({"input": Texts(("a",) * 1025)}, "texts"),
        ({"input": Texts(("a", ""))}, "texts[1]"),
        ({"input": Texts(("ä" * 40_000,))}, "texts[0]"),
        ({"input": RerankQuery("", ("a",))}, "query"),
        ({"input": RerankQuery("a", ())}, "documents"),
        ({"input": Pictures((b"",))}, "pictures[0]"),
        ({"input": Texts(("a" * 60_000,) * 18)}, "texts"),
        ({"input": Tensors(None, (), 2**31)}, "inputs[0].shape"),
        ({"input": Tensors(None, ("a",) * 1026, 1)}, "inputs"),
        ({"input": Tensors(None, ("a" * (2**20 + 1),), 1)}, "inputs"),
    ],
)
async def test_what_is_wrong_is_named_before_a_peer_is_asked(
    world: Any, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(WeirError) as caught:
        await world.ask(**changes)
    assert caught.value.field == field
    assert world.steps == 0
