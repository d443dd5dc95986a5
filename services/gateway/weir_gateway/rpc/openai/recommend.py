"""`POST /v1/recommend`: what users may like."""

from typing import Any

from weir_contracts.common.v1 import prediction_pb2 as pb
from weir_gateway.core.limits import INT32_MAX
from weir_gateway.core.prediction import Predicted, PredictionOptions, User, Users
from weir_gateway.rpc.openai.asked import Asked, each, read_asked, strings
from weir_gateway.rpc.openai.fields import Fields
from weir_gateway.rpc.openai.shape import Json


def read_recommend(fields: Fields) -> Asked:
    """The body. Raises `InvalidArgument`."""
    values = fields.take("users")
    if not isinstance(values, list):
        raise fields.wrong("users", "must be a list of objects with a history")
    users = Users(tuple(_user(fields, place, value) for place, value in enumerate(values)))
    options = PredictionOptions(top_k=fields.integer("top_k", 1, INT32_MAX) or 0)
    return read_asked(fields, users, options, ("recommendation",), _tell, {})


def _user(fields: Fields, place: int, value: Any) -> User:
    if not isinstance(value, dict):
        raise fields.wrong(f"users[{place}]", "must be an object")
    user = Fields(value, f"users[{place}].")
    ids = (strings(user, name, user.take(name) or []) for name in ("history", "excluded"))
    read = User(*ids)
    user.refuse_rest(frozenset(), {})
    return read


def _tell(predicted: Predicted) -> Json:
    return {"object": "list", "data": each(predicted, _items, "recommendations")}


def _items(answer: pb.Recommendations) -> Json:
    items = [
        {"id": one.id, "title": one.title, "score": one.score, "because": [*one.because]}
        for one in answer.items
    ]
    return {"items": items}
