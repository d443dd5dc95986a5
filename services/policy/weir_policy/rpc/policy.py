"""`weir.policy.v1.PolicyService`."""

from collections.abc import AsyncIterator
from typing import Any

import grpc

from weir_contracts.common.v1 import chat_pb2
from weir_contracts.policy.v1 import policy_pb2, policy_pb2_grpc
from weir_kit.errors import InvalidArgument
from weir_policy.core.admit import Gate, Input, Message, Question, Texts, Yes
from weir_policy.core.audit import AuditLog
from weir_policy.core.names import check_request_id
from weir_policy.core.rules import Rule
from weir_policy.core.screen import Released
from weir_policy.core.screening import Screening
from weir_policy.rpc.audit import entry_of_proto
from weir_policy.rpc.proto import finding_to_proto, principal_of_proto, principal_to_proto

Context = grpc.aio.ServicerContext[Any, Any]


class PolicyServicer(policy_pb2_grpc.PolicyServiceServicer):
    """Admit, Screen, Record."""

    def __init__(self, gate: Gate, output_rules: tuple[Rule, ...], audit: AuditLog) -> None:
        self._gate = gate
        self._output_rules = output_rules
        self._audit = audit

    async def Admit(
        self, request: policy_pb2.AdmitRequest, context: Context
    ) -> policy_pb2.AdmitResponse:
        question = Question(request.request_id, request.api_key, request.model, _input_of(request))
        return _yes_to_proto(await self._gate.admit(question))

    async def Screen(
        self, request_iterator: AsyncIterator[policy_pb2.ScreenRequest], context: Context
    ) -> AsyncIterator[policy_pb2.ScreenResponse]:
        screening = None
        async for request in request_iterator:
            kind = request.WhichOneof("message")
            if screening is None:
                if kind != "opening":
                    raise InvalidArgument("the first message must be the opening", field="opening")
                check_request_id(request.opening.request_id, "opening.request_id")
                principal_of_proto(request.opening.principal)
                screening = Screening(self._output_rules)
            elif kind == "text":
                yield _released_to_proto(await screening.push(request.text))
            else:
                raise InvalidArgument("every message after the first must be text", field="text")
        if screening is None:
            raise InvalidArgument("the first message must be the opening", field="opening")
        yield _released_to_proto(screening.finish())

    async def Record(
        self, request: policy_pb2.RecordRequest, context: Context
    ) -> policy_pb2.RecordResponse:
        record = await self._audit.append(entry_of_proto(request))
        return policy_pb2.RecordResponse(sequence=record.sequence, hash=record.hash)


def _input_of(request: policy_pb2.AdmitRequest) -> Input | None:
    match request.WhichOneof("input"):
        case "chat":
            return tuple(Message(m.role, m.content) for m in request.chat.messages)
        case "text":
            return request.text
        case "texts":
            return Texts(tuple(request.texts.texts))
    return None


def _yes_to_proto(yes: Yes) -> policy_pb2.AdmitResponse:
    response = policy_pb2.AdmitResponse(
        admission=yes.token,
        principal=principal_to_proto(yes.principal),
        findings=[finding_to_proto(finding) for finding in yes.findings],
        allowed_models=yes.allowed_models,
    )
    if isinstance(yes.redacted, str):
        response.redacted_text = yes.redacted
    elif isinstance(yes.redacted, Texts):
        response.redacted_texts.texts.extend(yes.redacted.texts)
    elif yes.redacted is not None:
        response.redacted_chat.messages.extend(
            chat_pb2.ChatMessage(role=message.role, content=message.content)
            for message in yes.redacted
        )
    if yes.rate_limit is not None:
        response.rate_limit.CopyFrom(policy_pb2.RateLimit(**vars(yes.rate_limit)))
    return response


def _released_to_proto(released: Released) -> policy_pb2.ScreenResponse:
    return policy_pb2.ScreenResponse(
        text=released.text,
        screened_chars=released.screened_chars,
        findings=[finding_to_proto(finding) for finding in released.findings],
        blocked_by=released.blocked_by,
    )
