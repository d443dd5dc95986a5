"""`POST /v1/rerank`, as Cohere and Jina have it."""

from typing import Any

from weir_gateway.core.prediction import Predicted, PredictionOptions, RerankQuery
from weir_gateway.core.prediction_limits import ITEMS_MAX
from weir_gateway.rpc.openai.asked import Asked, answers, read_asked
from weir_gateway.rpc.openai.fields import Fields
from weir_gateway.rpc.openai.shape import Json


def read_rerank(fields: Fields) -> Asked:
    """The body. Raises `InvalidArgument`."""
    query = fields.text("query")
    if query is None:
        raise fields.wrong("query", "is missing")
    asked = RerankQuery(query, _documents(fields))
    top_n = fields.integer("top_n", 1, ITEMS_MAX)
    with_documents = fields.flag("return_documents")

    def tell(predicted: Predicted) -> Json:
        read = predicted.input
        assert isinstance(read, RerankQuery)
        scores = [*answers(predicted, "score")]
        best = sorted(range(len(scores)), key=lambda place: -scores[place])[:top_n]
        results: list[Json] = [{"index": place, "relevance_score": scores[place]} for place in best]
        if with_documents:
            for result in results:
                result["document"] = {"text": read.documents[result["index"]]}
        return {"results": results}

    return read_asked(fields, asked, PredictionOptions(), ("rerank",), tell, {})


def _documents(fields: Fields) -> tuple[str, ...]:
    """Strings, or objects with a `text`."""
    values = fields.take("documents")
    if not isinstance(values, list):
        raise fields.wrong("documents", "must be a list of strings")
    return tuple(_document(fields, place, value) for place, value in enumerate(values))


def _document(fields: Fields, place: int, value: Any) -> str:
    text = value.get("text") if isinstance(value, dict) and len(value) == 1 else value
    if not isinstance(text, str):
        raise fields.wrong(f"documents[{place}]", "must be a string, or an object with a text")
    return fields.checked(f"documents[{place}]", text)
