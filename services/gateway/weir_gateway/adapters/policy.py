"""Policy, over its channel."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from weir_contracts.policy.v1 import policy_pb2, policy_pb2_grpc
from weir_gateway.adapters.exchange import Exchange, exchange
from weir_gateway.core.call import Input, RateLimit, Usage, Work
from weir_gateway.core.ports import Admission, AnyCall, Principal, Record, Screened
from weir_gateway.core.prediction import PredictionCall, texts_of
from weir_gateway.translation import (
    chat_of_proto,
    chat_to_proto,
    findings_of_proto,
    findings_to_proto,
    money_to_proto,
    usage_to_proto,
    work_to_proto,
)
from weir_kit.status import raising_weir_errors


class PolicyPeer:
    """The port `Policy`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = policy_pb2_grpc.PolicyServiceStub(channel)

    async def authenticate(self, api_key: str, timeout_s: float) -> Admission:
        return await self._admit(policy_pb2.AdmitRequest(api_key=api_key), timeout_s)

    async def admit(self, call: AnyCall, timeout_s: float) -> Admission:
        request = policy_pb2.AdmitRequest(
            request_id=call.request_id, api_key=call.api_key, model=call.model
        )
        if isinstance(call, PredictionCall):
            request.texts.SetInParent()  # also where there are none: pictures have no text
            request.texts.texts.extend(texts_of(call.input))
        elif isinstance(call.input, str):
            request.text = call.input
        else:
            request.chat.CopyFrom(chat_to_proto(call.input))
        return await self._admit(request, timeout_s)

    async def _admit(self, request: policy_pb2.AdmitRequest, timeout_s: float) -> Admission:
        with raising_weir_errors():
            response = await self._stub.Admit(request, timeout=timeout_s)
        limit = response.rate_limit
        principal = response.principal
        return Admission(
            token=response.admission,
            principal=Principal(principal.tenant_id, principal.project_id, principal.key_id),
            findings=findings_of_proto(response.findings),
            redacted=_redacted(response),
            redacted_texts=_redacted_texts(response),
            rate_limit=RateLimit(limit.limit, limit.remaining, limit.reset_s),
            allowed_models=frozenset(response.allowed_models),
        )

    @asynccontextmanager
    async def screener(
        self, request_id: str, principal: Principal, timeout_s: float
    ) -> AsyncGenerator["ScreenStream", None]:
        opening = policy_pb2.ScreenOpening(
            request_id=request_id, principal=_principal_to_proto(principal)
        )
        async with exchange(self._stub.Screen(timeout=timeout_s)) as stream:
            await stream.say(policy_pb2.ScreenRequest(opening=opening))
            yield ScreenStream(stream)

    async def record(self, record: Record, timeout_s: float) -> None:
        used = record.used
        request = policy_pb2.RecordRequest(
            request_id=record.request_id,
            principal=_principal_to_proto(record.principal),
            model=record.model,
            outcome=record.outcome,
            model_version=record.model_version,
            usage=usage_to_proto(used) if isinstance(used, Usage) else None,
            work=work_to_proto(used) if isinstance(used, Work) else None,
            charged=money_to_proto(record.charged),
            findings=findings_to_proto(record.findings),
            trace_id=record.trace_id,
            started_at=_timestamp(record.started_at_s),
            duration_ms=record.duration_ms,
        )
        with raising_weir_errors():
            await self._stub.Record(request, timeout=timeout_s)


class ScreenStream:
    """The port `Screener`."""

    def __init__(self, stream: Exchange[Any, policy_pb2.ScreenResponse]) -> None:
        self._stream = stream

    async def feed(self, text: str, *, last: bool) -> Screened:
        message = policy_pb2.ScreenRequest(text=text)
        if last:
            answers = await self._stream.end([message] if text else [])
        else:
            answers = [await self._stream.ask(message)]
        return Screened(
            text="".join(answer.text for answer in answers),
            screened_chars=max((answer.screened_chars for answer in answers), default=0),
            findings=findings_of_proto(f for answer in answers for f in answer.findings),
            blocked_by=next((a.blocked_by for a in answers if a.blocked_by), ""),
        )


def _redacted(response: policy_pb2.AdmitResponse) -> Input | None:
    match response.WhichOneof("redacted"):
        case "redacted_chat":
            return chat_of_proto(response.redacted_chat)
        case "redacted_text":
            return response.redacted_text
    return None


def _redacted_texts(response: policy_pb2.AdmitResponse) -> tuple[str, ...] | None:
    if not response.HasField("redacted_texts"):
        return None
    return tuple(response.redacted_texts.texts)


def _principal_to_proto(principal: Principal) -> policy_pb2.Principal:
    return policy_pb2.Principal(
        tenant_id=principal.tenant_id, project_id=principal.project_id, key_id=principal.key_id
    )


def _timestamp(seconds: float) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromNanoseconds(round(seconds * 1e9))
    return timestamp
