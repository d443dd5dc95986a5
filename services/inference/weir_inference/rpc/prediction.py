"""`weir.inference.v1.PredictionService` over the models that have a task."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import grpc

from weir_contracts.common.v1 import prediction_pb2 as common
from weir_contracts.common.v1.usage_pb2 import WorkUsage
from weir_contracts.inference.v1 import prediction_pb2 as pb
from weir_contracts.inference.v1.prediction_pb2_grpc import PredictionServiceServicer
from weir_inference.core.prediction import (
    ITEMS_MAX,
    TEXT_BYTES_MAX,
    Blobs,
    Box,
    Boxes,
    Classes,
    Embedding,
    Lines,
    Pictures,
    Prediction,
    PredictionCall,
    PredictionInput,
    PredictionOptions,
    Predictions,
    Recommendations,
    RerankQuery,
    Score,
    Spans,
    Texts,
    User,
    Users,
)
from weir_kit import deadline
from weir_kit.admission import METADATA_KEY
from weir_kit.clock import Clock
from weir_kit.errors import InvalidArgument
from weir_kit.metadata import value_of

T = TypeVar("T")

LISTED_MAX = 10_000  # ids of a user


class PredictionServicer(PredictionServiceServicer):
    """Typed items in, typed predictions out."""

    def __init__(self, predictions: Predictions, clock: Clock) -> None:
        self._predictions = predictions
        self._clock = clock

    async def Predict(
        self,
        request: pb.PredictRequest,
        context: "grpc.aio.ServicerContext[pb.PredictRequest, pb.PredictResponse]",
    ) -> pb.PredictResponse:
        """Answer for every item."""
        call = call_of(request, value_of(context, METADATA_KEY))
        remaining_s = deadline.remaining_s()
        if remaining_s is not None:
            call = replace(call, deadline_s=self._clock.monotonic_s() + remaining_s)
        answer = await self._predictions.predict(call)
        usage = WorkUsage(requests=1, items=call.input.n_items, compute_us=answer.compute_us)
        return pb.PredictResponse(
            version=answer.version,
            predictions=[message_of(one) for one in answer.predictions],
            usage=usage,
        )


def call_of(request: pb.PredictRequest, admission_token: str) -> PredictionCall:
    """The call in `request`. Raises `InvalidArgument`, naming the field at fault."""
    return PredictionCall(
        admission_token=admission_token,
        request_id=request.request_id,
        model=request.model,
        version=request.version,
        input=input_of(request.input),
        options=options_of(request.options),
    )


def input_of(message: common.PredictionInput) -> PredictionInput:
    """What to look at. Raises `InvalidArgument`, naming the item at fault."""
    match message.WhichOneof("kind"):
        case "texts":
            return Texts(_texts(message.texts.texts, "input.texts"))
        case "pictures":
            return Pictures(_items(message.pictures.pictures, "input.pictures"))
        case "blobs":
            return Blobs(_items(message.blobs.blobs, "input.blobs"))
        case "rerank":
            query, documents = message.rerank.query, message.rerank.documents
            _check_text(query, "input.rerank.query")
            return RerankQuery(query, _texts(documents, "input.rerank.documents"))
        case "users":
            users = _items(message.users.users, "input.users")
            return Users(tuple(_user(one, f"input.users[{i}]") for i, one in enumerate(users)))
        case _:
            raise InvalidArgument("an input needs one of its kinds", field="input")


def options_of(message: common.PredictionOptions) -> PredictionOptions:
    """What is wanted. Raises `InvalidArgument` for counts below 0."""
    for name in ("top_k", "dimensions"):
        if getattr(message, name) < 0:
            raise InvalidArgument(
                f"{name} must be 1 or more, or 0 for the model's own", field=f"options.{name}"
            )
    return PredictionOptions(
        top_k=message.top_k or None,
        min_score=message.min_score if message.HasField("min_score") else None,
        dimensions=message.dimensions or None,
    )


def message_of(prediction: Prediction) -> common.Prediction:
    """The prediction of an item."""
    match prediction:
        case Classes(classes):
            scored = [common.ScoredClass(label=one.label, score=one.score) for one in classes]
            return common.Prediction(classes=common.Classes(classes=scored))
        case Spans(spans):
            named = [
                common.Span(start=one.start, end=one.end, label=one.label, score=one.score)
                for one in spans
            ]
            return common.Prediction(spans=common.Spans(spans=named))
        case Embedding(values):
            return common.Prediction(embedding=common.Embedding(values=values.tolist()))
        case Score(score):
            return common.Prediction(score=score)
        case Boxes(boxes, width, height):
            found = common.Boxes(boxes=[_box(one) for one in boxes], width=width, height=height)
            return common.Prediction(boxes=found)
        case Lines(lines):
            read = [
                common.Line(box=_box(one.box), text=one.text, turned=one.turned) for one in lines
            ]
            return common.Prediction(lines=common.Lines(lines=read))
        case Recommendations(items):
            best = [
                common.Recommendation(
                    id=one.id, title=one.title, score=one.score, because=one.because
                )
                for one in items
            ]
            return common.Prediction(recommendations=common.Recommendations(items=best))


def _items(items: Sequence[T], field: str) -> tuple[T, ...]:
    if not 1 <= len(items) <= ITEMS_MAX:
        raise InvalidArgument(f"must hold 1..{ITEMS_MAX} items, not {len(items)}", field=field)
    return tuple(items)


def _texts(texts: Sequence[str], field: str) -> tuple[str, ...]:
    for i, text in enumerate(texts):
        _check_text(text, f"{field}[{i}]")
    return _items(texts, field)


def _check_text(text: str, field: str) -> None:
    # Only a text of many code points need be encoded to be measured: one takes at most 4 bytes.
    if len(text) * 4 > TEXT_BYTES_MAX and len(text.encode()) > TEXT_BYTES_MAX:
        raise InvalidArgument(f"must be at most {TEXT_BYTES_MAX} bytes", field=field)


def _user(user: common.User, field: str) -> User:
    for name, ids in (("history", user.history), ("excluded", user.excluded)):
        if len(ids) > LISTED_MAX:
            raise InvalidArgument(f"must hold at most {LISTED_MAX} ids", field=f"{field}.{name}")
    return User(tuple(user.history), tuple(user.excluded))


def _box(box: Box) -> common.Box:
    return common.Box(
        x_min=box.x_min,
        y_min=box.y_min,
        x_max=box.x_max,
        y_max=box.y_max,
        label=box.label,
        score=box.score,
    )
