"""The Python SDK of Weir.

    import weir

    with weir.Client("127.0.0.1:9090", api_key="weir_sk_…") as client:
        answer = client.generate("weir-tales", "Once upon a time", max_output_tokens=60)
        print(answer.text, answer.usage.output_tokens, answer.cost_nanos)

        with client.stream("weir-tales", [weir.Message("user", "Tell me a tale.")]) as stream:
            for text in stream:
                print(text, end="")

        prediction = client.classify("weir-language", texts=["Guten Tag"], top_k=1)
        print(prediction.answers[0][0].label, prediction.version, prediction.cost_nanos)

`AsyncClient` is the same with `await` and `async`. Everything raises the errors in `weir.errors`.
"""

from weir import errors
from weir.answers import (
    Choice,
    Finding,
    FinishReason,
    Generation,
    Message,
    Model,
    Piece,
    TokenLogprob,
    Usage,
)
from weir.async_client import AsyncClient, AsyncTextStream
from weir.client import Client, TextStream
from weir.items import User
from weir.prediction import (
    Box,
    Boxes,
    Kind,
    Line,
    Prediction,
    Ranked,
    Recommendation,
    ScoredClass,
    Span,
    WorkUsage,
)

__all__ = [
    "AsyncClient",
    "AsyncTextStream",
    "Box",
    "Boxes",
    "Choice",
    "Client",
    "Finding",
    "FinishReason",
    "Generation",
    "Kind",
    "Line",
    "Message",
    "Model",
    "Piece",
    "Prediction",
    "Ranked",
    "Recommendation",
    "ScoredClass",
    "Span",
    "TextStream",
    "TokenLogprob",
    "Usage",
    "User",
    "WorkUsage",
    "errors",
]
