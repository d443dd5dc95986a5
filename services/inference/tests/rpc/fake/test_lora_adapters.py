"""Adapters are loaded and unloaded while requests run."""

import asyncio
from typing import Any

import grpc
import pytest

from weir_contracts.inference.v1 import inference_pb2 as pb
from weir_inference.core.engine import Delta, Finished, Started
from weir_inference.core.request import EndReason
from weir_kit.errors import AlreadyExists, DeadlineExceeded, InvalidArgument, ModelNotFound
from weir_kit.status import raising_weir_errors

FakeBench = Any


async def load(bench: FakeBench, **fields: str) -> pb.Model:
    usual = {"name": "tuned", "base_model": "base", "source": "/adapters/tuned"}
    with raising_weir_errors():
        request = pb.LoadAdapterRequest(**(usual | fields))
        return (await bench.models.LoadAdapter(request, timeout=10)).model


async def unload(bench: FakeBench, name: str = "tuned", timeout: float = 10) -> None:
    with raising_weir_errors():
        await bench.models.UnloadAdapter(pb.UnloadAdapterRequest(name=name), timeout=timeout)


async def names(bench: FakeBench) -> list[tuple[str, str]]:
    listed = await bench.models.ListModels(pb.ListModelsRequest(), timeout=10)
    return [(model.name, model.base_model) for model in listed.models]


async def generated(bench: FakeBench, **fields: Any) -> list[pb.GenerateResponse]:
    with raising_weir_errors():
        return [answer async for answer in bench.generate(**fields)]


async def test_a_loaded_adapter_is_listed_and_serves_requests_by_its_name(
    fake: FakeBench,
) -> None:
    model = await load(fake)
    assert (model.name, model.base_model, model.parameters) == ("tuned", "base", 7)
    assert fake.engine.loaded == {"tuned": "/adapters/tuned"}
    assert await names(fake) == [("base", ""), ("tuned", "base")]
    got = asyncio.create_task(generated(fake, model="tuned"))
    (await fake.engine.nth(0)).tell(Started(0.0), Finished(EndReason.STOP))
    await got
    assert fake.engine.submitted[0].request.adapter == "tuned"
    assert fake.notes.metered[0].model == "tuned"


async def test_unloading_waits_for_running_requests_and_refuses_new_ones(fake: FakeBench) -> None:
    await load(fake)
    running = asyncio.create_task(generated(fake, model="tuned"))
    (await fake.engine.nth(0)).tell(Started(0.0), Delta((7,)))
    unloading = asyncio.create_task(unload(fake))
    async with asyncio.timeout(10):
        while ("tuned", "base") in await names(fake):
            await asyncio.sleep(0)
    with pytest.raises(ModelNotFound):
        await generated(fake, request_id="req_2", model="tuned")
    with pytest.raises(ModelNotFound):
        await unload(fake)
    with pytest.raises(AlreadyExists):
        await load(fake)
    assert fake.engine.loaded
    assert not unloading.done()
    fake.engine.submitted[0].tell(Finished(EndReason.STOP))
    await running
    await unloading
    assert fake.engine.loaded == {}
    await load(fake)


async def test_unloading_that_waits_past_its_deadline_changes_nothing(fake: FakeBench) -> None:
    await load(fake)
    running = asyncio.create_task(generated(fake, model="tuned"))
    await fake.engine.nth(0)
    with pytest.raises(DeadlineExceeded):
        await unload(fake, timeout=0.05)
    async with asyncio.timeout(10):
        while ("tuned", "base") not in await names(fake):
            await asyncio.sleep(0)
    fake.engine.submitted[0].tell(Started(0.0), Finished(EndReason.STOP))
    await running
    assert fake.engine.loaded


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"name": ""}, InvalidArgument, "name"),
        ({"name": "a b"}, InvalidArgument, "name"),
        ({"name": "base"}, AlreadyExists, "name"),
        ({"base_model": "elsewhere"}, ModelNotFound, "base_model"),
        ({"source": ""}, InvalidArgument, "source"),
    ],
)
async def test_a_bad_adapter_is_refused_by_name(
    fake: FakeBench, fields: dict[str, str], error: type[Exception], field: str
) -> None:
    with pytest.raises(error) as refused:
        await load(fake, **fields)
    assert refused.value.field == field  # type: ignore[attr-defined]
    assert fake.engine.loaded == {}


async def test_adapters_stand_on_models_not_on_adapters(fake: FakeBench) -> None:
    await load(fake)
    with pytest.raises(InvalidArgument):
        await load(fake, name="further", base_model="tuned")


async def test_a_failed_load_leaves_the_name_free(fake: FakeBench) -> None:
    fake.engine.refuses = InvalidArgument("its rank does not fit", field="source")
    with pytest.raises(InvalidArgument):
        await load(fake)
    fake.engine.refuses = None
    await load(fake)


@pytest.mark.parametrize("name", ["base", "elsewhere"])
async def test_what_is_no_adapter_is_not_found(fake: FakeBench, name: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await fake.models.UnloadAdapter(pb.UnloadAdapterRequest(name=name), timeout=10)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
