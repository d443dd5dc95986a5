"""`weir.inference.v1.ExplanationService` over the replica."""

import grpc

from weir_contracts.inference.v1 import inference_pb2 as pb
from weir_contracts.inference.v1.inference_pb2_grpc import ExplanationServiceServicer
from weir_inference.core.explanation import STEPS_DEFAULT, AttributionMethod, ExplanationRequest
from weir_inference.core.replica import Replica
from weir_kit.errors import InvalidArgument

METHODS = {
    pb.ATTRIBUTION_METHOD_UNSPECIFIED: AttributionMethod.GRADIENT_X_INPUT,
    pb.ATTRIBUTION_METHOD_GRADIENT_X_INPUT: AttributionMethod.GRADIENT_X_INPUT,
    pb.ATTRIBUTION_METHOD_INTEGRATED_GRADIENTS: AttributionMethod.INTEGRATED_GRADIENTS,
}


class ExplanationServicer(ExplanationServiceServicer):
    """Why an output token was chosen."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def Explain(
        self,
        request: pb.ExplainRequest,
        context: "grpc.aio.ServicerContext[pb.ExplainRequest, pb.ExplainResponse]",
    ) -> pb.ExplainResponse:
        """Attribute one output token to the tokens before it."""
        if request.method not in METHODS:
            raise InvalidArgument("no such method", field="method")
        explanation = await self._replica.explain(
            request.model,
            ExplanationRequest(
                prompt_token_ids=tuple(request.prompt_token_ids),
                output_token_ids=tuple(request.output_token_ids),
                method=METHODS[request.method],
                steps=request.steps or STEPS_DEFAULT,
            ),
        )
        return pb.ExplainResponse(
            logprob=explanation.logprob, attributions=explanation.attributions
        )
