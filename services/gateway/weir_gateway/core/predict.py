"""The life of one prediction."""

from dataclasses import dataclass, replace

from weir_gateway.core.call import Work
from weir_gateway.core.charge import Ending, charged_work, worst_work
from weir_gateway.core.closings import Closings
from weir_gateway.core.deadline import Deadline
from weir_gateway.core.models import Models
from weir_gateway.core.ports import Admission, Ports
from weir_gateway.core.prediction import (
    Predicted,
    PredictionCall,
    PredictionInput,
    RerankQuery,
    Tensors,
    Texts,
    texts_of,
)
from weir_gateway.core.prediction_limits import check_prediction
from weir_gateway.core.run import Run
from weir_gateway.core.running import Running
from weir_gateway.core.tasks import check_predicts
from weir_kit.clock import Clock
from weir_kit.errors import ContentBlocked, Internal

ANSWERED = "stop"  # the outcome in the audit record, as of a generation that came to its end


class Predictions:
    """Has models that answer in one piece answer, governed and metered as generation is."""

    def __init__(
        self, ports: Ports, models: Models, running: Running, closings: Closings, clock: Clock
    ) -> None:
        self._ports = ports
        self._models = models
        self._running = running
        self._closings = closings
        self._clock = clock

    async def predict(self, call: PredictionCall) -> Predicted:
        """The answer, charged by then.

        Cancelled, it ends the work at once; money and audit are then closed in tasks of their own.
        Raises what the peers raise.
        """
        check_prediction(call)
        deadline = Deadline(self._clock, call.timeout_s)
        with self._running.enter(call.request_id):
            async with await self._admit(call, deadline) as run:
                model = await self._models.get(call.model)
                check_predicts(model, call.tasks)
                allowed = replace(call, input=_allowed(call.input, run.admission))
                tally = _Tally()
                await run.reserve(model, worst_work(call), tally.owed)
                answer = await self._ports.inference.predict(
                    allowed, run.admission, deadline.remaining_s()
                )
                tally.work, run.model_version = answer.work, answer.version
                cost = await run.finish(ANSWERED)
        return Predicted(
            call.request_id,
            allowed.input,
            run.admission.rate_limit,
            answer,
            cost,
            run.admission.findings,
        )

    async def _admit(self, call: PredictionCall, deadline: Deadline) -> Run[PredictionCall]:
        admission = await self._ports.policy.admit(call, deadline.remaining_s())
        return Run(call, admission, deadline, self._ports, self._closings, self._clock)


@dataclass
class _Tally:
    """What a prediction owes: its answer's work, once there is an answer."""

    work: Work | None = None

    def owed(self, ending: Ending) -> Work | None:
        return charged_work(ending, self.work)


def _allowed(asked: PredictionInput, admission: Admission) -> PredictionInput:
    """The input with the texts that rules left of it. Raises `ContentBlocked` for tensors."""
    texts = admission.redacted_texts
    if texts is None or texts == texts_of(asked):
        return asked
    if len(texts) != len(texts_of(asked)):
        raise Internal("policy gave back another number of texts than it was given")
    match asked:
        case Texts():
            return Texts(texts)
        case RerankQuery():
            return RerankQuery(texts[0], texts[1:])
        case Tensors():
            raise ContentBlocked(
                "a rule redacts a text of the input, and tensors go to the model as they are: send "
                "it without what the rule is about, or through an endpoint for texts"
            )
    return asked
