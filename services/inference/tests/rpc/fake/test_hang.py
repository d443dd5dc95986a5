"""A step that never ends is told by health, and ends the process."""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from weir_contracts.inference.v1 import inference_pb2 as pb
from weir_contracts.inference.v1.inference_pb2_grpc import InferenceServiceStub
from weir_inference.core.engine import ModelDescription
from weir_inference.core.engine_loop import EngineLoop
from weir_inference.core.limits import Limits
from weir_inference.core.predictor import Predictor
from weir_inference.core.replica import Replica
from weir_inference.core.request import Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.scheduler import Scheduler
from weir_inference.core.served_models import ServedModels
from weir_inference.core.step_plan import SliceResult, StepPlan
from weir_inference.service import service_of
from weir_kit.admission import METADATA_KEY, Admission
from weir_kit.channel import connect
from weir_kit.clock import ManualClock
from weir_kit.errors import Unavailable
from weir_kit.health import NOT_SERVING, SERVING, Health
from weir_kit.local import local_channel
from weir_kit.status import raising_weir_errors
from weir_kit.watch import EXIT_BROKEN, Watch

MODEL = ModelDescription("base", "fake", "llama", 64, 50, 1, "fp32", 0.0)
LIMITS = Limits(
    n_blocks=16, block_size=4, context_tokens=64, max_running=4, max_queued=4, step_tokens=8
)
PROGRAM = Path(__file__).parent / "hanging_engine.py"


class GatedRunner:
    """Its steps end when the gate opens."""

    overlaps = False

    def __init__(self) -> None:
        self.gate, self.inside = threading.Event(), threading.Event()

    def start(self, plan: StepPlan) -> Callable[[], list[SliceResult]]:
        self.inside.set()
        assert self.gate.wait(30)
        return lambda: [SliceResult((7,) * one.n_sampled) for one in plan.slices]


async def test_health_is_not_serving_while_a_step_hangs_and_serving_after_it() -> None:
    runner, clock, health = GatedRunner(), ManualClock(), Health()
    engine = EngineLoop(MODEL, Scheduler(LIMITS, [2]), runner, clock)
    turning = asyncio.get_running_loop().run_in_executor(None, engine.run)
    served = ServedModels({"base": engine})
    replica = Replica(served, None, None, None, clock, None)  # type: ignore[arg-type]
    predictor = Predictor(None, None, None, None, clock)  # type: ignore[arg-type]
    watch = Watch(health, 0.002)
    watch.start([service_of(replica, predictor, clock, stall_exit_s=30)])
    async with local_channel(health.servicer) as channel, asyncio.timeout(20):
        stub = health_pb2_grpc.HealthStub(channel)

        async def told() -> int:
            return int((await stub.Check(health_pb2.HealthCheckRequest())).status)

        generation = engine.submit(Request("req_1", (3,), 1, Sampling(seed=1)))
        while not runner.inside.is_set():
            await asyncio.sleep(0.002)
        clock.advance(9.5)
        while await told() != NOT_SERVING:
            await asyncio.sleep(0.002)
        runner.gate.set()
        while await told() != SERVING:
            await asyncio.sleep(0.002)
        generation.close()
    engine.stop()
    await turning
    await watch.close()


async def test_a_hung_step_ends_the_process_for_its_supervisor(
    admission_key: Any, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("token")
    (tmp_path / "key.pem").write_bytes(admission_key.public_pem)
    environ = {
        "WEIR_SERVICE_TOKEN_FILE": str(tmp_path / "token"),
        "KEY_FILE": str(tmp_path / "key.pem"),
        "STALL_EXIT_S": "0.2",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROGRAM)),
        env={**os.environ, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        ready = json.loads(await asyncio.wait_for(process.stderr.readline(), 30))
        request = pb.GenerateRequest(
            request_id="req_1", model="base", prompt_token_ids=[3], max_output_tokens=4
        )
        admission = Admission("req_1", "ten", "prj", "key", "base", 4e9)
        metadata = ((METADATA_KEY, admission_key.signer.sign(admission)),)
        async with connect(ready["listen"], service_token="token") as channel:
            call = InferenceServiceStub(channel).Generate(request, metadata=metadata, timeout=30)
            with pytest.raises(Unavailable), raising_weir_errors():
                async for _ in call:
                    pass
        assert await asyncio.wait_for(process.wait(), 10) == EXIT_BROKEN
        levels = [json.loads(line)["level"] async for line in process.stderr]
        assert levels == ["warning", "critical"]
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
