"""`POST /v1/embeddings`, as OpenAI has it."""

import base64
import struct
from typing import Any

from weir_contracts.common.v1 import prediction_pb2 as pb
from weir_gateway.core.limits import INT32_MAX
from weir_gateway.core.prediction import Predicted, PredictionOptions
from weir_gateway.rpc.openai.asked import Asked, each, read_asked, read_texts
from weir_gateway.rpc.openai.fields import Fields
from weir_gateway.rpc.openai.shape import Json

FORMATS = ("float", "base64")


def read_embeddings(fields: Fields) -> Asked:
    """The body. Raises `InvalidArgument`."""
    texts, names = read_texts(fields, "input")
    encoding = fields.text("encoding_format") or "float"
    if encoding not in FORMATS:
        raise fields.wrong("encoding_format", f"must be one of {', '.join(FORMATS)}")
    options = PredictionOptions(dimensions=fields.integer("dimensions", 1, INT32_MAX) or 0)

    def embedding(answer: pb.Embedding) -> Json:
        values: Any = [*answer.values]
        if encoding == "base64":
            values = base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
        return {"object": "embedding", "embedding": values}

    def tell(predicted: Predicted) -> Json:
        return {"object": "list", "data": each(predicted, embedding, "embedding")}

    return read_asked(fields, texts, options, ("embedding",), tell, names)
