"""`POST /v1/classify`: texts or pictures."""

from typing import Any

from weir_contracts.common.v1 import prediction_pb2 as pb
from weir_gateway.core.prediction import Predicted, PredictionInput
from weir_gateway.rpc.openai.asked import Asked, each, read_asked, read_options, read_texts
from weir_gateway.rpc.openai.fields import Fields
from weir_gateway.rpc.openai.pictures import has_pictures, read_pictures
from weir_gateway.rpc.openai.shape import Json

TEXT_TASKS = ("text-classification", "language-id", "token-classification")
PICTURE_TASKS = ("image-classification",)


def read_classify(fields: Fields) -> Asked:
    """The body. Raises `InvalidArgument`."""
    asked: PredictionInput
    tasks: tuple[str, ...]
    if has_pictures(fields):
        if fields.has("input"):
            raise fields.wrong("input", "is for texts, image and images are for pictures: send one")
        (asked, names), tasks = read_pictures(fields), PICTURE_TASKS
    else:
        (asked, names), tasks = read_texts(fields, "input"), TEXT_TASKS
    return read_asked(fields, asked, read_options(fields), tasks, _tell, names)


def _tell(predicted: Predicted) -> Json:
    return {"object": "list", "data": each(predicted, _answer, "classes", "spans")}


def _answer(answer: Any) -> Json:
    """The classes of an item, the likeliest first; of a model that marks texts, the spans."""
    if isinstance(answer, pb.Classes):
        return {"classes": [{"label": one.label, "score": one.score} for one in answer.classes]}
    return {
        "spans": [
            {"start": one.start, "end": one.end, "label": one.label, "score": one.score}
            for one in answer.spans
        ]
    }
