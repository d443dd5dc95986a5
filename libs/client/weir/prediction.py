"""What models that answer in one piece give: plain data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Generic, TypeVar

from weir.answers import Finding, findings_of
from weir_contracts.common.v1 import prediction_pb2
from weir_contracts.gateway.v1 import prediction_pb2 as pb
from weir_kit.errors import Internal, InvalidArgument

Answer = TypeVar("Answer")


class Kind(StrEnum):
    """What an answer is. The same for every item of a call: it follows from the model's task."""

    CLASSES = "classes"  # a tuple of `ScoredClass`, the likeliest first
    SPANS = "spans"  # a tuple of `Span`, in the order of the text
    EMBEDDING = "embedding"  # a list of floats
    SCORE = "score"  # a float: how well the document answers the query
    BOXES = "boxes"  # `Boxes`
    LINES = "lines"  # a tuple of `Line`, from top to bottom
    RECOMMENDATIONS = "recommendations"  # a tuple of `Recommendation`, the best first


@dataclass(frozen=True)
class WorkUsage:
    """What was charged: calls, items looked at, and microseconds of computing."""

    requests: int
    items: int
    compute_us: int


@dataclass(frozen=True)
class ScoredClass:
    """A class and its probability."""

    label: str
    score: float


@dataclass(frozen=True)
class Span:
    """A named part of a text: code points [start, end)."""

    start: int
    end: int
    label: str
    score: float


@dataclass(frozen=True)
class Box:
    """A thing in a picture: its edges in pixels from the upper left corner."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float
    label: str
    score: float


@dataclass(frozen=True)
class Boxes:
    """The things in a picture of `width` x `height` pixels, the surest first."""

    boxes: tuple[Box, ...]
    width: int
    height: int


@dataclass(frozen=True)
class Line:
    """A line of text in a picture, turned by 0 or 180 degrees.

    `text` is empty if the model only finds lines.
    """

    box: Box
    text: str
    turned: int


@dataclass(frozen=True)
class Ranked:
    """A document by how well it answers; `index` is its place among those sent, from 0."""

    index: int
    document: str
    score: float


@dataclass(frozen=True)
class Recommendation:
    """What a user may like. Of scores only the order means something.

    `because`: ids of items in the history that it is nearest to, the nearest first.
    """

    id: str
    title: str
    score: float
    because: tuple[str, ...]


@dataclass(frozen=True)
class Prediction(Generic[Answer]):
    """One answer for each item, in order (ranked documents: the best first), and what they cost.

    `version` is the model's that answered, empty for a model without. `cost_nanos` counts nano
    units (1e-9) of `currency`. Both are None in the rare case that the ledger was away in the end:
    it then charges the same request later.
    """

    request_id: str
    model: str
    version: str
    kind: Kind
    answers: tuple[Answer, ...]
    usage: WorkUsage
    cost_nanos: int | None
    currency: str | None
    findings: tuple[Finding, ...]


def prediction_of(response: pb.PredictResponse, wanted: Kind | None = None) -> Prediction[Any]:
    """A prediction from its proto.

    Raises `InvalidArgument` if the model answers otherwise than by the `wanted` kind.
    """
    kind = _kind_of(response)
    if wanted is not None and kind is not wanted:
        raise InvalidArgument(
            f"the model answers with {kind}, not with {wanted}: call what fits its task, or "
            "predict, which takes any",
            field="model",
        )
    has_cost = response.HasField("cost")
    usage = response.usage
    return Prediction(
        request_id=response.request_id,
        model=response.model,
        version=response.version,
        kind=kind,
        answers=tuple(_answer(one, kind) for one in response.predictions),
        usage=WorkUsage(usage.requests, usage.items, usage.compute_us),
        cost_nanos=response.cost.nanos if has_cost else None,
        currency=response.cost.currency_code if has_cost else None,
        findings=findings_of(response.findings),
    )


def ranked(scored: Prediction[float], documents: Sequence[str]) -> Prediction[Ranked]:
    """The documents with their scores, the best first; equal ones stay in order."""
    places = sorted(range(len(documents)), key=lambda place: -scored.answers[place])
    best = tuple(Ranked(place, documents[place], scored.answers[place]) for place in places)
    told: Prediction[Any] = scored
    return replace(told, answers=best)


def _kind_of(response: pb.PredictResponse) -> Kind:
    found = {one.WhichOneof("kind") for one in response.predictions}
    if len(found) != 1 or not found <= set(Kind):
        raise Internal("the gateway answered with what this version of the SDK does not know")
    return Kind(found.pop() or "")


def _answer(one: prediction_pb2.Prediction, kind: Kind) -> Any:
    match kind:
        case Kind.CLASSES:
            return tuple(ScoredClass(c.label, c.score) for c in one.classes.classes)
        case Kind.SPANS:
            return tuple(Span(s.start, s.end, s.label, s.score) for s in one.spans.spans)
        case Kind.EMBEDDING:
            return list(one.embedding.values)
        case Kind.SCORE:
            return one.score
        case Kind.BOXES:
            boxes = one.boxes
            return Boxes(tuple(map(_box, boxes.boxes)), boxes.width, boxes.height)
        case Kind.LINES:
            return tuple(Line(_box(x.box), x.text, x.turned) for x in one.lines.lines)
        case Kind.RECOMMENDATIONS:
            return tuple(
                Recommendation(x.id, x.title, x.score, tuple(x.because))
                for x in one.recommendations.items
            )


def _box(box: prediction_pb2.Box) -> Box:
    return Box(box.x_min, box.y_min, box.x_max, box.y_max, box.label, box.score)
