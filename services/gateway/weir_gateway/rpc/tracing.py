"""What spans say about a request (OpenTelemetry's GenAI conventions). Never content."""

from weir_gateway.core.call import Call, Outcome
from weir_gateway.core.prediction import Predicted, PredictionCall
from weir_kit.spans import REQUEST_ID_ATTRIBUTE, Attribute


def call_attributes(call: Call) -> dict[str, Attribute]:
    """What is known at the start."""
    attributes: dict[str, Attribute | None] = {
        REQUEST_ID_ATTRIBUTE: call.request_id,
        "gen_ai.operation.name": "text_completion" if isinstance(call.input, str) else "chat",
        "gen_ai.provider.name": "weir",
        "gen_ai.request.model": call.model,
        "gen_ai.request.max_tokens": call.max_output_tokens,
        "gen_ai.request.temperature": call.sampling.temperature,
        "gen_ai.request.top_p": call.sampling.top_p,
        "gen_ai.request.top_k": call.sampling.top_k,
        "gen_ai.request.presence_penalty": call.sampling.presence_penalty,
        "gen_ai.request.frequency_penalty": call.sampling.frequency_penalty,
        "gen_ai.request.choice.count": call.n if call.n > 1 else None,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def outcome_attributes(outcome: Outcome) -> dict[str, Attribute]:
    """What is known at the end."""
    attributes: dict[str, Attribute] = {
        "gen_ai.usage.input_tokens": outcome.usage.input_tokens,
        "gen_ai.usage.output_tokens": outcome.usage.output_tokens,
        "gen_ai.response.finish_reasons": outcome.finish.value,
        "weir.findings": len(outcome.findings),
    }
    if outcome.cost is not None:
        attributes["weir.cost_nanos"] = outcome.cost.nanos
    return attributes


def prediction_attributes(call: PredictionCall) -> dict[str, Attribute]:
    """What is known of a prediction at the start."""
    return {
        REQUEST_ID_ATTRIBUTE: call.request_id,
        "gen_ai.provider.name": "weir",
        "gen_ai.request.model": call.model,
        "weir.input": type(call.input).__name__,
        "weir.items": len(call.input),
    }


def predicted_attributes(predicted: Predicted) -> dict[str, Attribute]:
    """What is known of it at the end."""
    attributes: dict[str, Attribute] = {
        "weir.model_version": predicted.answer.version,
        "weir.compute_us": predicted.answer.work.compute_us,
        "weir.findings": len(predicted.findings),
    }
    if predicted.cost is not None:
        attributes["weir.cost_nanos"] = predicted.cost.nanos
    return attributes
