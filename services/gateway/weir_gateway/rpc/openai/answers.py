"""Answers in OpenAI's words, with one more field: `weir` says what the request cost."""

import json
from typing import Any

from weir_gateway.core.call import Call, Completion, Finding, Money, Outcome, Piece, Usage
from weir_gateway.core.ports import Model
from weir_gateway.rpc.openai.shape import Json, Shape


class Answers:
    """The answers to one request: the same id, time and model in all."""

    def __init__(self, shape: Shape, call: Call, created_s: int, *, include_usage: bool) -> None:
        self._shape = shape
        self._call = call
        self._include_usage = include_usage
        self._head = {"id": call.request_id, "created": created_s, "model": call.model}

    def whole(self, completion: Completion) -> Json:
        """The answer that is not streamed."""
        logprobs = self._call.top_logprobs is not None
        return {
            "object": self._shape.whole_object,
            **self._head,
            "choices": [
                self._shape.whole(index, choice, logprobs=logprobs)
                for index, choice in enumerate(completion.choices)
            ],
            "usage": usage_json(completion.outcome.usage),
            "system_fingerprint": None,
            "weir": self._extras(completion.outcome),
        }

    def opening(self) -> list[Json]:
        """The chunks before any text."""
        choices = map(self._shape.opening, range(self._call.n))
        return [self._chunk(choice) for choice in choices if choice is not None]

    def piece(self, piece: Piece) -> Json:
        """A chunk of text."""
        return self._chunk(self._shape.piece(piece))

    def closing(self, outcome: Outcome) -> list[Json]:
        """The chunks after the text; the last one says what the request cost."""
        chunks = [
            self._chunk(self._shape.closing(index, ended.finish))
            for index, ended in enumerate(outcome.outputs)
        ]
        if self._include_usage:
            chunks.append({**self._chunk(), "usage": usage_json(outcome.usage)})
        chunks[-1]["weir"] = self._extras(outcome)
        return chunks

    def _chunk(self, *choices: Json) -> Json:
        chunk: Json = {"object": self._shape.chunk_object, **self._head, "choices": [*choices]}
        if self._include_usage:
            chunk["usage"] = None
        return chunk

    def _extras(self, outcome: Outcome) -> Json:
        inputs = [finding_json(f) for f in outcome.findings if f.where == "input"]
        outputs = [
            finding_json(finding, index)
            for index, ended in enumerate(outcome.outputs)
            for finding in ended.findings
        ]
        return weir_json(self._call.request_id, outcome.cost, inputs + outputs)


def weir_json(request_id: str, cost: Money | None, findings: list[Json]) -> Json:
    """What Weir tells beside OpenAI's fields; no cost where billing was away."""
    return {
        "request_id": request_id,
        "cost_nanos": None if cost is None else cost.nanos,
        "currency": None if cost is None else cost.currency,
        "findings": findings,
    }


def finding_json(finding: Finding, choice: int | None = None) -> Json:
    """Where a rule matched: in the input, or in the text of a choice."""
    return {
        "rule": finding.rule,
        "action": finding.action.value,
        "where": finding.where,
        "choice": choice,
        "start": finding.start,
        "end": finding.end,
    }


def model_json(model: Model) -> Json:
    """A model, with what it does, its version and its context size as more fields."""
    return {
        "id": model.name,
        "object": "model",
        "created": model.created_at_s,
        "owned_by": "weir",
        "context_tokens": model.context_tokens,
        "task": model.task,
        "version": model.version or None,
    }


def to_json(content: Any) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def usage_json(usage: Usage) -> Json:
    """Tokens in OpenAI's words."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
    }
