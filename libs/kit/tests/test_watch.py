"""Health follows what services say of themselves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from weir_kit.condition import Condition
from weir_kit.health import NOT_SERVING, SERVING, Health
from weir_kit.local import local_channel
from weir_kit.service import Service, Servicer
from weir_kit.watch import Watch


class Patient:
    """A service that is as the test says."""

    def __init__(self, name: str) -> None:
        self.condition: Condition | None = Condition.WELL  # None: it cannot say
        servicer = Servicer(f"weir.{name}", None, lambda _, server: None)
        self.service = Service(name, (servicer,), self._say)

    def _say(self) -> Condition:
        if self.condition is None:
            raise RuntimeError("it cannot say")
        return self.condition


class Bench:
    """Two patients under watch."""

    def __init__(self, stub: health_pb2_grpc.HealthStub) -> None:
        self.stub = stub
        self.sick, self.other = Patient("sick"), Patient("other")
        self.ended = asyncio.Event()

    async def told(self, name: str) -> int:
        request = health_pb2.HealthCheckRequest(service=name)
        return int((await self.stub.Check(request)).status)

    async def until(self, name: str, status: int) -> None:
        async with asyncio.timeout(10):
            while await self.told(name) != status:
                await asyncio.sleep(0.002)


@asynccontextmanager
async def watched() -> AsyncIterator[Bench]:
    health = Health()
    async with local_channel(health.servicer) as channel:
        bench = Bench(health_pb2_grpc.HealthStub(channel))
        for name in ("weir.sick", "weir.other"):
            await health.serve(name)
        watch = Watch(health, 0.002, bench.ended.set)
        watch.start([bench.sick.service, bench.other.service])
        yield bench
        await watch.close()


@pytest.mark.parametrize("condition", [Condition.UNWELL, None])
async def test_an_unwell_service_and_its_process_do_not_serve_until_it_is_well(
    condition: Condition | None,
) -> None:
    async with watched() as bench:
        bench.sick.condition = condition
        await bench.until("", NOT_SERVING)
        assert await bench.told("weir.sick") == NOT_SERVING
        assert await bench.told("weir.other") == SERVING
        bench.sick.condition = Condition.WELL
        await bench.until("", SERVING)
        assert await bench.told("weir.sick") == SERVING
        assert not bench.ended.is_set()


async def test_a_broken_service_ends_the_process_and_is_not_serving_before() -> None:
    async with watched() as bench:
        bench.sick.condition = Condition.BROKEN
        await asyncio.wait_for(bench.ended.wait(), 10)
        assert await bench.told("") == await bench.told("weir.sick") == NOT_SERVING
