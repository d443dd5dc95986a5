"""What an answer tells beside its tensors: parameters named `weir_…`."""

from weir_contracts.oip.v2 import inference_pb2 as pb
from weir_gateway.core.call import Money, Outcome
from weir_gateway.core.prediction import Predicted


def tell_predicted(response: pb.ModelInferResponse, predicted: Predicted) -> None:
    """Add what a prediction took and cost."""
    work = predicted.answer.work
    _tell_numbers(response, items=work.items, compute_us=work.compute_us)
    _tell_cost(response, predicted.request_id, predicted.cost)


def tell_outcome(response: pb.ModelInferResponse, request_id: str, outcome: Outcome) -> None:
    """Add how a generation ended, what it took and what it cost."""
    usage = outcome.usage
    _tell_numbers(response, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
    response.parameters["weir_finish_reason"].string_param = outcome.finish.value
    _tell_cost(response, request_id, outcome.cost)


def _tell_numbers(response: pb.ModelInferResponse, **numbers: int) -> None:
    for name, number in numbers.items():
        response.parameters[f"weir_{name}"].int64_param = number


def _tell_cost(response: pb.ModelInferResponse, request_id: str, cost: Money | None) -> None:
    response.parameters["weir_request_id"].string_param = request_id
    if cost is not None:
        response.parameters["weir_cost_nanos"].int64_param = cost.nanos
        response.parameters["weir_currency"].string_param = cost.currency
