"""One streamed generation over gRPC, as any client of Weir would ask for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from weir_contracts.common.v1 import chat_pb2, finding_pb2
from weir_contracts.gateway.v1 import generation_pb2, generation_pb2_grpc
from weir_contracts.inference.v1 import inference_pb2
from weir_kit.channel import connect
from weir_kit.status import raising_weir_errors

Message = dict[str, str]
TIMEOUT_S = 120


@dataclass(frozen=True)
class Answer:
    """What came back."""

    request_id: str
    text: str
    finish_reason: str
    usage: dict[str, int]
    cost_nanos: int
    currency: str
    findings: list[dict[str, Any]]


async def stream(
    address: str,
    api_key: str,
    model: str,
    messages: Sequence[Message],
    max_tokens: int,
    on_text: Callable[[str], None],
) -> Answer:
    """Ask, give each piece of text to `on_text` as it comes, and return the whole."""
    spec = generation_pb2.GenerationSpec(
        model=model,
        chat=chat_pb2.Chat(messages=[chat_pb2.ChatMessage(**message) for message in messages]),
        max_output_tokens=max_tokens,
    )
    request_id, texts, result = "", [], generation_pb2.GenerationResult()
    async with connect(address) as channel:
        stub = generation_pb2_grpc.GenerationServiceStub(channel)
        with raising_weir_errors():
            async for event in stub.StreamGenerate(
                generation_pb2.StreamGenerateRequest(spec=spec),
                timeout=TIMEOUT_S,
                metadata=(("authorization", f"Bearer {api_key}"),),
            ):
                match event.WhichOneof("event"):
                    case "started":
                        request_id = event.started.request_id
                    case "delta":
                        texts.append(event.delta.text)
                        on_text(event.delta.text)
                    case "finished":
                        result = event.finished
    return _answer(request_id, "".join(texts), result)


def _answer(request_id: str, text: str, result: generation_pb2.GenerationResult) -> Answer:
    reason = inference_pb2.FinishReason.Name(result.finish_reason)
    return Answer(
        request_id=request_id,
        text=text,
        finish_reason=reason.removeprefix("FINISH_REASON_").lower(),
        usage={
            "input_tokens": result.usage.input_tokens,
            "cached_input_tokens": result.usage.cached_input_tokens,
            "output_tokens": result.usage.output_tokens,
        },
        cost_nanos=result.cost.nanos,
        currency=result.cost.currency_code,
        findings=[
            {
                "rule": finding.rule,
                "action": finding_pb2.Action.Name(finding.action).removeprefix("ACTION_").lower(),
                "where": finding.where,
                "start": finding.start,
                "end": finding.end,
            }
            for finding in result.findings
        ],
    )
