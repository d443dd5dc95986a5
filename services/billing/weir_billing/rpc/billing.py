"""The BillingService: its messages to core and back."""

from weir_billing.core import fields
from weir_billing.core.billing import Billing
from weir_billing.core.hold import Hold, HoldState, Reservation
from weir_billing.core.usage import TokenUsage, tokens_or_work, usage_of
from weir_billing.rpc.messages import Context, money, timestamp, work
from weir_contracts.billing.v1 import billing_pb2 as pb
from weir_contracts.billing.v1 import billing_pb2_grpc
from weir_kit.admission import METADATA_KEY, Admission, AdmissionVerifier
from weir_kit.clock import Clock
from weir_kit.metadata import value_of

STATES = {
    HoldState.HELD: pb.HOLD_STATE_HELD,
    HoldState.SETTLED: pb.HOLD_STATE_SETTLED,
    HoldState.RELEASED: pb.HOLD_STATE_RELEASED,
    HoldState.EXPIRED: pb.HOLD_STATE_EXPIRED,
}


class BillingServicer(billing_pb2_grpc.BillingServiceServicer):
    """Holds and charges, for admitted requests."""

    def __init__(self, billing: Billing, verifier: AdmissionVerifier, clock: Clock) -> None:
        self._billing = billing
        self._verifier = verifier
        self._clock = clock

    async def Reserve(self, request: pb.ReserveRequest, context: Context) -> pb.ReserveResponse:
        """Hold the worst-case price."""
        admission = self._admission(context)
        tokens = TokenUsage(
            fields.tokens(request.input_tokens, "input_tokens"),
            fields.tokens(request.max_output_tokens, "max_output_tokens"),
        )
        most = work(request.max_work, "max_work") if request.HasField("max_work") else None
        wanted = Reservation(
            request_id=fields.request_id(request.request_id),
            tenant_id=fields.tenant_id(admission.tenant_id, "weir-admission"),
            model=fields.model_name(request.model),
            most=tokens_or_work(tokens, most, "max_work"),
            ttl_s=fields.ttl_s(request.ttl_s),
            base_model=(
                fields.model_name(request.base_model, "base_model") if request.base_model else ""
            ),
        )
        return pb.ReserveResponse(hold=_hold(await self._billing.reserve(admission, wanted)))

    async def Settle(self, request: pb.SettleRequest, context: Context) -> pb.SettleResponse:
        """Charge what was used."""
        # The work is done by now: it is charged although the admission may have expired since.
        admission = self._admission(context, allow_expired=True)
        request_id = fields.request_id(request.request_id)
        used = request.usage
        tokens = usage_of(
            used.input_tokens, used.cached_input_tokens, used.output_tokens, field="usage"
        )
        made = work(request.work, "work") if request.HasField("work") else None
        usage = tokens_or_work(tokens, made, "work")
        hold = await self._billing.settle(admission, request_id, usage)
        return pb.SettleResponse(hold=_hold(hold), charged=money(hold.charged))

    async def Release(self, request: pb.ReleaseRequest, context: Context) -> pb.ReleaseResponse:
        """Give the hold back."""
        admission = self._admission(context, allow_expired=True)
        request_id = fields.request_id(request.request_id)
        return pb.ReleaseResponse(hold=_hold(await self._billing.release(admission, request_id)))

    def _admission(self, context: Context, *, allow_expired: bool = False) -> Admission:
        token = value_of(context, METADATA_KEY)
        return self._verifier.verify(token, self._clock.now_s(), allow_expired=allow_expired)


def _hold(hold: Hold) -> pb.Hold:
    return pb.Hold(
        request_id=hold.request_id,
        tenant_id=hold.tenant_id,
        model=hold.reservation.model,
        amount=money(hold.amount),
        state=STATES[hold.state],
        expires_at=timestamp(hold.expires_at_s),
        price_book_version=hold.price_book_version,
    )
