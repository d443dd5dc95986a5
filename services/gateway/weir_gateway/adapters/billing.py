"""Billing, over its channel."""

import grpc

from weir_contracts.billing.v1 import billing_pb2, billing_pb2_grpc
from weir_gateway.core.call import Charge, Money, Usage
from weir_gateway.core.ports import Admission, AnyCall, Model
from weir_gateway.translation import money_of_proto, usage_to_proto, work_to_proto
from weir_kit.admission import METADATA_KEY
from weir_kit.status import raising_weir_errors


class BillingPeer:
    """The port `Billing`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = billing_pb2_grpc.BillingServiceStub(channel)

    async def reserve(
        self,
        call: AnyCall,
        model: Model,
        admission: Admission,
        worst: Charge,
        ttl_s: int,
        timeout_s: float,
    ) -> bool:
        request = billing_pb2.ReserveRequest(
            request_id=call.request_id,
            model=model.name,
            base_model=model.base_model,
            ttl_s=ttl_s,
        )
        if isinstance(worst, Usage):
            request.input_tokens = worst.input_tokens
            request.max_output_tokens = worst.output_tokens
        else:
            request.max_work.CopyFrom(work_to_proto(worst))
        with raising_weir_errors():
            response = await self._stub.Reserve(
                request, timeout=timeout_s, metadata=_metadata(admission)
            )
        return response.hold.state == billing_pb2.HOLD_STATE_HELD

    async def settle(
        self, request_id: str, admission: Admission, charge: Charge, timeout_s: float
    ) -> Money:
        request = billing_pb2.SettleRequest(request_id=request_id)
        if isinstance(charge, Usage):
            request.usage.CopyFrom(usage_to_proto(charge))
        else:
            request.work.CopyFrom(work_to_proto(charge))
        with raising_weir_errors():
            response = await self._stub.Settle(
                request, timeout=timeout_s, metadata=_metadata(admission)
            )
        return money_of_proto(response.charged)

    async def release(self, request_id: str, admission: Admission, timeout_s: float) -> None:
        request = billing_pb2.ReleaseRequest(request_id=request_id)
        with raising_weir_errors():
            await self._stub.Release(request, timeout=timeout_s, metadata=_metadata(admission))


def _metadata(admission: Admission) -> tuple[tuple[str, str], ...]:
    return ((METADATA_KEY, admission.token),)
