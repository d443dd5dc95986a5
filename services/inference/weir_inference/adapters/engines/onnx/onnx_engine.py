"""An ONNX engine from a model's file: load, warm up, then compute on threads of its own."""

import asyncio
import logging
import math
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from weir_inference.adapters.engines.onnx.lengths import Lengths
from weir_inference.adapters.engines.onnx.onnx_model import BadOnnxModel, OnnxModel
from weir_inference.adapters.engines.onnx.onnx_settings import OnnxSettings
from weir_inference.adapters.engines.onnx.rows import joined, rows_of, shared_out
from weir_inference.adapters.engines.onnx.trial import Trial, sooner_and_the_same, try_out
from weir_inference.core.batcher import Batcher, BatchLimits, open_batcher
from weir_inference.core.tensor_engine import InferRequest, InferResult, TensorLoad
from weir_inference.core.tensor_models import check_outputs
from weir_inference.core.tensors import Tensor, Tensors, TensorSpec, check_inputs
from weir_kit.clock import Clock

log = logging.getLogger(__name__)

# Calls that are not joined still go to a thread together, as many as are done in this time: handing
# over costs as much as a small model.
TOGETHER_S = 0.002
TOGETHER_MAX = 64
# A model as fast as this is no faster by several threads: waking them takes as long.
ONE_THREAD_S = 0.0003


@asynccontextmanager
async def open_onnx_engine(
    name: str, source: str, settings: OnnxSettings, clock: Clock
) -> AsyncIterator["OnnxEngine"]:
    """The engine of the model at `source`, a file or a folder with one; drained on leaving.

    Raises `BadOnnxModel` for what cannot be served, `InvalidArgument` for settings that do not
    fit.
    """
    began_s = clock.monotonic_s()
    event_loop = asyncio.get_running_loop()
    threads = ThreadPoolExecutor(settings.instances, thread_name_prefix=f"onnx-{name}")
    try:
        batches = await event_loop.run_in_executor(
            threads, load_batches, model_file(source), settings, clock
        )

        async def compute(requests: Sequence[InferRequest]) -> Sequence[Tensors]:
            outputs = await event_loop.run_in_executor(threads, batches.run, requests)
            batcher.batch_rows = batches.rows_that_pay
            return outputs

        async with open_batcher(compute, limits_of(settings, batches), clock) as batcher:
            batcher.batch_rows = batches.rows_that_pay
            log.info(
                "model %s ready in %.1f s: %s, %s",
                name,
                clock.monotonic_s() - began_s,
                batches.model.provider,
                f"batches of {batches.rows_that_pay} rows" if batches.joins else "no batches",
            )
            yield OnnxEngine(batches, batcher, settings.max_rows)
    finally:
        # A run under way cannot be stopped: nobody waits for it once leaving was cancelled.
        threads.shutdown(wait=False)


def model_file(source: str) -> Path:
    """The model of a folder: `model.onnx`, or the only one. Raises `BadOnnxModel`."""
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if not path.is_dir():
        raise BadOnnxModel(f"{source}: neither a file nor a folder")
    files = sorted(path.glob("*.onnx"))
    if path / "model.onnx" in files:
        return path / "model.onnx"
    if len(files) != 1:
        raise BadOnnxModel(f"{source}: holds {len(files)} *.onnx files and none is model.onnx")
    return files[0]


def load_batches(file: Path, settings: OnnxSettings, clock: Clock) -> "OnnxBatches":
    """A warm model.

    Where `threads` is left to us, an instance computes by one thread: several would wait for each
    other, and for other instances. Only a call that is alone is computed by all, if that is sooner.
    """
    model = OnnxModel(file, replace(settings, threads=settings.threads or 1))
    trial = try_out(model, settings, clock)
    alone = None
    if settings.threads == 0 and trial.row_s >= ONE_THREAD_S:
        alone = OnnxModel(file, settings)
        if not sooner_and_the_same(alone, model, settings, clock):
            alone = None
    lengths = None
    if settings.length_buckets:
        lengths = Lengths(model, settings.length_buckets, settings.padding)
    return OnnxBatches(model, alone, lengths, trial, clock)


def limits_of(settings: OnnxSettings, batches: "OnnxBatches") -> BatchLimits:
    """A call that is not joined counts as a row."""
    together = min(TOGETHER_MAX, settings.max_queued_rows)
    return BatchLimits(
        max_rows=settings.max_rows if batches.joins else together,
        max_queued_rows=settings.max_queued_rows,
        n_instances=settings.instances,
        max_delay_s=settings.max_delay_ms / 1000 if batches.joins else 0.0,
    )


class OnnxBatches:
    """Runs of a model for several calls at once. `run` may be called by several threads.

    `alone` is the same model, and quicker for a call beside which none runs.
    """

    def __init__(
        self,
        model: OnnxModel,
        alone: OnnxModel | None,
        lengths: Lengths | None,
        trial: Trial,
        clock: Clock,
    ) -> None:
        self.model = model
        self._alone = alone
        self._lock = threading.Lock()
        self._running = 0
        self.lengths = lengths
        self.joins = trial.joins
        self._batch_rows = trial.batch_rows
        self._call_s = trial.row_s
        self._names = [spec.name for spec in model.outputs]
        self._clock = clock

    @property
    def rows_that_pay(self) -> int:
        """Rows to compute at once; of calls that are not joined, how many to hand over."""
        if self.joins:
            return self._batch_rows
        return int(min(max(TOGETHER_S / max(self._call_s, 1e-6), 1), TOGETHER_MAX))

    def run(self, requests: Sequence[InferRequest]) -> list[dict[str, Tensor]]:
        """See `Compute`."""
        with self._lock:
            self._running += 1
            lone = self._running == len(requests) == 1
        try:
            return self._run(requests, self._alone if lone and self._alone else self.model)
        finally:
            with self._lock:
                self._running -= 1

    def _run(self, requests: Sequence[InferRequest], model: OnnxModel) -> list[dict[str, Tensor]]:
        if not self.joins:
            return self._one_by_one(requests, model)
        rows = [next(iter(request.inputs.values())).shape[0] for request in requests]
        inputs = joined([request.inputs for request in requests])
        outputs = model.run(inputs, self._named_by(requests))
        return [
            _named(share, request)
            for share, request in zip(shared_out(outputs, rows), requests, strict=True)
        ]

    def _one_by_one(
        self, requests: Sequence[InferRequest], model: OnnxModel
    ) -> list[dict[str, Tensor]]:
        began_s = self._clock.monotonic_s()
        outputs = [model.run(one.inputs, self._named_by([one])) for one in requests]
        call_s = (self._clock.monotonic_s() - began_s) / len(requests)
        known = math.isfinite(self._call_s)
        self._call_s = (self._call_s + call_s) / 2 if known else call_s
        return outputs

    def _named_by(self, requests: Sequence[InferRequest]) -> list[str]:
        """The outputs that any of the calls wants."""
        wanted: set[str] = set()
        for request in requests:
            if not request.outputs:
                return self._names
            wanted.update(request.outputs)
        return [name for name in self._names if name in wanted]


class OnnxEngine:
    """A `TensorEngine`."""

    def __init__(self, batches: OnnxBatches, batcher: Batcher, max_rows: int) -> None:
        self.inputs: tuple[TensorSpec, ...] = batches.model.inputs
        self.outputs: tuple[TensorSpec, ...] = batches.model.outputs
        self._joins = batches.joins
        self._lengths = batches.lengths
        self._batcher = batcher
        self._max_rows = max_rows

    async def infer(self, request: InferRequest) -> InferResult:
        """See `TensorEngine.infer`. A call of more than `max_rows` is computed part by part."""
        check_inputs(self.inputs, request.inputs)
        check_outputs(self.outputs, request.outputs)
        if self._lengths is None:
            return await self._infer(request)
        inputs, length = self._lengths.padded(request.inputs)
        result = await self._infer(_with_inputs(request, inputs))
        outputs = self._lengths.cut(result.outputs, length)
        return InferResult(outputs, result.queue_s, result.compute_s, result.batch_rows)

    def load(self) -> TensorLoad:
        """See `TensorEngine.load`."""
        return self._batcher.load()

    async def _infer(self, request: InferRequest) -> InferResult:
        inputs = request.inputs
        if not self._joins:
            return await self._batcher.infer(request, 1, None)
        rows = rows_of(inputs)
        kind = tuple([inputs[spec.name].shape[1:] for spec in self.inputs])
        if rows <= self._max_rows:
            return await self._batcher.infer(request, rows, kind)
        parts = []
        for start in range(0, rows, self._max_rows):
            part = {name: one[start : start + self._max_rows] for name, one in inputs.items()}
            n_rows = min(self._max_rows, rows - start)
            parts.append(await self._batcher.infer(_with_inputs(request, part), n_rows, kind))
        return _whole(parts)


def _named(outputs: dict[str, Tensor], request: InferRequest) -> dict[str, Tensor]:
    if not request.outputs:
        return outputs
    return {name: outputs[name] for name in outputs if name in request.outputs}


def _with_inputs(request: InferRequest, inputs: Tensors) -> InferRequest:
    return InferRequest(inputs, request.outputs, request.priority, request.deadline_s)


def _whole(parts: Sequence[InferResult]) -> InferResult:
    names = parts[0].outputs
    return InferResult(
        outputs={name: np.concatenate([part.outputs[name] for part in parts]) for name in names},
        queue_s=sum(part.queue_s for part in parts),
        compute_s=sum(part.compute_s for part in parts),
        batch_rows=max(part.batch_rows for part in parts),
    )
