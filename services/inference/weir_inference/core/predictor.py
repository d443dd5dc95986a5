"""What this replica does with models that answer in one piece: admitted, metered, traced."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from weir_inference.core.admitted import admitted
from weir_inference.core.hosted_model import HostedModel
from weir_inference.core.meter import Meter, MeterRecord
from weir_inference.core.model_host import ModelHost
from weir_inference.core.phase import Phase, Trace
from weir_inference.core.prediction import PredictionAnswer, PredictionCall
from weir_inference.core.request import EndReason
from weir_inference.core.tensor_engine import InferRequest, InferResult
from weir_inference.core.tensor_models import (
    IndexEntry,
    InferAnswer,
    InferCall,
    ModelState,
    TensorModel,
    VersionStatistics,
)
from weir_inference.core.tensors import Tensors
from weir_inference.core.work import Work, share_us
from weir_kit.admission import Admission, AdmissionVerifier
from weir_kit.clock import Clock
from weir_kit.errors import DeadlineExceeded, InvalidArgument


@dataclass
class _Account:
    """What a call has taken so far."""

    work: Work
    queue_s: float = 0.0
    compute_s: float = 0.0

    def add(self, result: InferResult, rows: int) -> None:
        self.work = replace(self.work, compute_us=self.work.compute_us + share_us(result, rows))
        self.queue_s += result.queue_s
        self.compute_s += result.compute_s


class Predictor:
    """`TensorModels` and `Predictions` over the models that a host has loaded."""

    def __init__(
        self,
        host: ModelHost,
        verifier: AdmissionVerifier,
        meter: Meter,
        trace: Trace,
        clock: Clock,
    ) -> None:
        self.host = host
        self._verifier = verifier
        self._meter = meter
        self._trace = trace
        self._clock = clock

    async def infer(self, call: InferCall) -> InferAnswer:
        """See `TensorModels`."""
        admission = self._admitted(call.admission_token, call.model)
        async with self.host.using(call.model, call.version) as hosted:
            engine = hosted.opened.tensors
            if engine is None:
                raise _wrong_task(hosted)
            rows = rows_of(call.request.inputs)
            with self._metered(admission, hosted, rows) as account:
                result = await engine.infer(call.request)
                account.add(result, rows)
            return InferAnswer(str(hosted.key.version), result, account.work)

    async def predict(self, call: PredictionCall) -> PredictionAnswer:
        """See `Predictions`."""
        admission = self._admitted(call.admission_token, call.model)
        async with self.host.using(call.model, call.version) as hosted:
            opened = hosted.opened
            if opened.task is None or opened.tensors is None:
                raise _wrong_task(hosted)
            with self._metered(admission, hosted, call.input.n_items) as account:

                async def run(
                    inputs: Tensors, outputs: Collection[str], file: str | None = None
                ) -> Tensors:
                    engine = opened.tensors if file is None else opened.beside[file]
                    assert engine is not None
                    request = InferRequest(inputs, outputs, deadline_s=call.deadline_s)
                    result = await engine.infer(request)
                    account.add(result, rows_of(inputs))
                    return result.outputs

                predictions = await opened.task.predict(run, call.input, call.options)
            version = str(hosted.key.version)
            return PredictionAnswer(version, predictions, account.work.compute_us)

    def all_ready(self) -> bool:
        """See `TensorModels`."""
        return all(one.state is not ModelState.LOADING for one in self.host.index())

    def is_ready(self, model: str, version: str) -> bool:
        """See `TensorModels`."""
        return self.host.knows(model, version)

    def describe(self, model: str, version: str) -> TensorModel:
        """See `TensorModels`."""
        hosted = self.host.awake(model, version)
        description = hosted.opened.description
        name = hosted.key.name
        versions = [str(one.key.version) for one in self.host.hosted if one.key.name == name]
        return TensorModel(
            name=name,
            versions=tuple(versions),
            platform=description.engine,
            inputs=description.inputs,
            outputs=description.outputs,
        )

    def index(self) -> Sequence[IndexEntry]:
        """See `TensorModels`."""
        return self.host.index()

    async def load(self, model: str) -> None:
        """See `TensorModels`."""
        await self.host.load(model)

    async def unload(self, model: str) -> None:
        """See `TensorModels`."""
        await self.host.unload(model)

    def statistics(self, model: str, version: str) -> Sequence[VersionStatistics]:
        """See `TensorModels`."""
        if model:
            self.host.awake(model, version)
        return [
            VersionStatistics(
                hosted.key.name,
                str(hosted.key.version),
                hosted.opened.tensors.load(),
                hosted.called_at_s,
            )
            for hosted in self.host.hosted
            if hosted.opened.tensors is not None
            and model in ("", hosted.key.name)
            and version in ("", str(hosted.key.version))
        ]

    def _admitted(self, token: str, model: str) -> Admission:
        return admitted(self._verifier, token, model.partition("@")[0], self._clock.now_s())

    @contextmanager
    def _metered(self, admission: Admission, hosted: HostedModel, items: int) -> Iterator[_Account]:
        """Give the meter its record and the trace its phases, however the call ends."""
        account, began_s = _Account(Work(items)), self._clock.monotonic_s()
        hosted.called_at_s = self._clock.now_s()
        reason = EndReason.CANCELLED
        try:
            yield account
            reason = EndReason.STOP
        except DeadlineExceeded:
            reason = EndReason.DEADLINE
            raise
        except Exception:
            reason = EndReason.ERROR
            raise
        finally:
            ended_s = self._clock.monotonic_s()
            queued_s = min(ended_s, began_s + account.queue_s)
            self._trace.record(Phase("queue", began_s, queued_s, 0))
            self._trace.record(Phase("compute", queued_s, ended_s, 0))
            self._meter.record(
                MeterRecord(
                    request_id=admission.request_id,
                    tenant_id=admission.tenant_id,
                    model=hosted.key.name,
                    input_tokens=0,
                    output_tokens=0,
                    reason=reason,
                    at_s=self._clock.now_s(),
                    items=items,
                    compute_us=account.work.compute_us,
                    model_version=str(hosted.key.version),
                )
            )


def rows_of(inputs: Tensors) -> int:
    """The first dimension of the first input; 1 of a scalar or of none."""
    shape = next(iter(inputs.values())).shape if inputs else ()
    return max(1, shape[0]) if shape else 1


def _wrong_task(hosted: HostedModel) -> InvalidArgument:
    task = hosted.opened.description.task
    return InvalidArgument(f"{hosted.key.name!r} is a model for {task}", field="model")
