"""The endpoints of models that answer in one piece."""

from typing import Any

from weir_gateway.core.predict import Predictions
from weir_gateway.core.prediction import PredictionCall
from weir_gateway.rpc.bearer import bearer_key
from weir_gateway.rpc.generation import naming_fields
from weir_gateway.rpc.openai.answers import finding_json, weir_json
from weir_gateway.rpc.openai.asked import Asked, Read
from weir_gateway.rpc.openai.classify import read_classify
from weir_gateway.rpc.openai.detect import read_detect, read_ocr
from weir_gateway.rpc.openai.embeddings import read_embeddings
from weir_gateway.rpc.openai.fields import Fields, parse_object
from weir_gateway.rpc.openai.form import is_form, parse_form
from weir_gateway.rpc.openai.http_call import ITEMS_BODY_BYTES_MAX, HttpCall
from weir_gateway.rpc.openai.rate_limit import rate_limit_headers
from weir_gateway.rpc.openai.recommend import read_recommend
from weir_gateway.rpc.openai.rerank import read_rerank
from weir_gateway.rpc.openai.shape import Json
from weir_gateway.rpc.tracing import predicted_attributes, prediction_attributes
from weir_kit import telemetry

READS: dict[str, Read] = {
    "/v1/embeddings": read_embeddings,
    "/v1/rerank": read_rerank,
    "/v1/classify": read_classify,
    "/v1/detect": read_detect,
    "/v1/ocr": read_ocr,
    "/v1/recommend": read_recommend,
}


class PredictionHandler:
    """Answers requests of one kind, each within `timeout_s`."""

    def __init__(self, read: Read, predictions: Predictions, timeout_s: float) -> None:
        self._read = read
        self._predictions = predictions
        self._timeout_s = timeout_s

    async def __call__(self, http: HttpCall) -> None:
        key = bearer_key(http.headers.get("authorization", ""))
        asked = self._read(Fields(await _values(http)))
        call = PredictionCall(
            request_id=http.request_id,
            api_key=key,
            model=asked.model,
            input=asked.input,
            timeout_s=self._timeout_s,
            version=asked.version,
            options=asked.options,
            tasks=asked.tasks,
            trace_id=telemetry.current_trace_id(),
        )
        http.span.annotate(**prediction_attributes(call))
        with naming_fields(asked.names):
            await http.within(self._timeout_s, self._predict(http, call, asked))

    async def _predict(self, http: HttpCall, call: PredictionCall, asked: Asked) -> None:
        predicted = await self._predictions.predict(call)
        http.span.annotate(**predicted_attributes(predicted))
        work = predicted.answer.work
        usage: Json = {
            "requests": work.requests,
            "items": work.items,
            "compute_us": work.compute_us,
        }
        if "embedding" in asked.tasks:
            # OpenAI's types have them, but what is charged here are items, not tokens.
            usage |= {"prompt_tokens": 0, "total_tokens": 0}
        findings = [*map(finding_json, predicted.findings)]
        content = {
            "id": call.request_id,
            "model": call.model,
            "version": predicted.answer.version or None,
            **asked.tell(predicted),
            "usage": usage,
            "weir": weir_json(call.request_id, predicted.cost, findings),
        }
        await http.answer(200, content, rate_limit_headers(predicted.rate_limit))


async def _values(http: HttpCall) -> dict[str, Any]:
    body = await http.body(ITEMS_BODY_BYTES_MAX)
    content_type = http.headers.get("content-type", "")
    return parse_form(body, content_type) if is_form(content_type) else parse_object(body)
