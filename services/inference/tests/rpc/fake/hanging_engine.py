"""Run as a program: the inference service over a real engine loop whose steps never end."""

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from weir_inference.core.engine import ModelDescription
from weir_inference.core.engine_loop import EngineLoop
from weir_inference.core.limits import Limits
from weir_inference.core.model_host import ModelHost
from weir_inference.core.predictor import Predictor
from weir_inference.core.replica import Replica
from weir_inference.core.scheduler import Scheduler
from weir_inference.core.served_models import ServedModels
from weir_inference.core.step_plan import SliceResult, StepPlan
from weir_inference.service import service_of
from weir_kit.admission import AdmissionVerifier
from weir_kit.clock import SystemClock
from weir_kit.config import setting
from weir_kit.host import main
from weir_kit.service import Peers, Service, ServiceSpec

MODEL = ModelDescription("base", "fake", "llama", 64, 50, 1, "fp32", 0.0)
LIMITS = Limits(
    n_blocks=16, block_size=4, context_tokens=64, max_running=4, max_queued=4, step_tokens=8
)


@dataclass(frozen=True)
class Config:
    """Whose admissions count, and how long a step may take."""

    admission_public_key: bytes = setting(
        "KEY_FILE", b"", "A PEM file.", lambda p: Path(p).read_bytes()
    )
    stall_exit_s: float = setting("STALL_EXIT_S", 30.0, "Seconds.")


class HangingRunner:
    """A `Runner` that waits for what never comes."""

    overlaps = False

    def start(self, plan: StepPlan) -> Callable[[], list[SliceResult]]:
        print("a step began", flush=True)
        threading.Event().wait()
        raise AssertionError("it came")


class Nowhere:
    """A `Meter` and a `Trace` that keep nothing."""

    def record(self, one: object) -> None:
        del one


@asynccontextmanager
async def open_service(config: Config, peers: Peers) -> AsyncIterator[Service]:
    clock = SystemClock()
    engine = EngineLoop(MODEL, Scheduler(LIMITS, [2]), HangingRunner(), clock)
    threading.Thread(target=engine.run).start()  # no daemon: joining it would take for ever
    verifier = AdmissionVerifier(config.admission_public_key)
    served, nowhere = ServedModels({"base": engine}), Nowhere()
    replica = Replica(served, verifier, nowhere, nowhere, clock, lambda: 1)
    host = ModelHost(None, served, clock, budget_mb=1)  # type: ignore[arg-type]
    predictor = Predictor(host, verifier, nowhere, nowhere, clock)
    yield service_of(replica, predictor, clock, config.stall_exit_s)


if __name__ == "__main__":
    main(ServiceSpec("inference", Config, open_service))
