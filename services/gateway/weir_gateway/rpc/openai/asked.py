"""What bodies ask of models that answer in one piece, and what they share."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from weir_contracts.common.v1 import prediction_pb2 as pb
from weir_gateway.core.limits import INT32_MAX
from weir_gateway.core.prediction import Predicted, PredictionInput, PredictionOptions, Texts
from weir_gateway.rpc.openai.fields import Fields
from weir_gateway.rpc.openai.shape import Json
from weir_kit.errors import Internal

IGNORED = frozenset({"user"})
Tell = Callable[[Predicted], Json]


@dataclass(frozen=True)
class Asked:
    """A body, read. `tell`: what is particular of the answer.

    `tasks`: those of models that can answer. `names`: core's fields by the names that the client
    sent them under.
    """

    model: str
    version: str
    input: PredictionInput
    options: PredictionOptions
    tasks: tuple[str, ...]
    names: Mapping[str, str]
    tell: Tell = field(repr=False)


Read = Callable[[Fields], Asked]


def read_asked(
    fields: Fields,
    asked: PredictionInput,
    options: PredictionOptions,
    tasks: tuple[str, ...],
    tell: Tell,
    names: Mapping[str, str],
) -> Asked:
    """The rest of a body, what only one endpoint has being read. Raises `InvalidArgument`."""
    model, version = fields.text("model") or "", fields.text("version") or ""
    fields.refuse_rest(IGNORED, {})
    return Asked(model, version, asked, options, tasks, names, tell)


def read_texts(fields: Fields, name: str) -> tuple[Texts, dict[str, str]]:
    """A text or a list of texts, and what core's `texts` is called."""
    value = fields.take(name)
    if isinstance(value, str):
        return Texts((fields.checked(name, value),)), {"texts[0]": name}
    if isinstance(value, list) and any(isinstance(one, int | list) for one in value):
        raise fields.wrong(name, "must be texts: token ids are not supported")
    return Texts(strings(fields, name, value)), {"texts": name}


def strings(fields: Fields, name: str, value: Any) -> tuple[str, ...]:
    """`value`, if it is a list of strings."""
    if not isinstance(value, list):
        raise fields.wrong(name, "must be strings in a list")
    for place, one in enumerate(value):
        if not isinstance(one, str):
            raise fields.wrong(f"{name}[{place}]", "must be a string")
        fields.checked(f"{name}[{place}]", one)
    return tuple(value)


def read_options(fields: Fields) -> PredictionOptions:
    """`top_k` and `min_score`."""
    top_k = fields.integer("top_k", 1, INT32_MAX)
    return PredictionOptions(top_k or 0, fields.number("min_score"))


def each(predicted: Predicted, told: Callable[[Any], Json], *kinds: str) -> list[Json]:
    """What `told` says of each item's answer, with its place.

    Raises `Internal` where an answer is of none of `kinds`: inference's task and answer differ.
    """
    return [{"index": index, **told(one)} for index, one in enumerate(answers(predicted, *kinds))]


def answers(predicted: Predicted, *kinds: str) -> Iterable[Any]:
    """The answers, one for each item."""
    predictions: Iterable[pb.Prediction] = predicted.answer.content
    for prediction in predictions:
        kind = prediction.WhichOneof("kind")
        if kind is None or kind not in kinds:
            raise Internal("inference gave an answer of another kind than the model's task has")
        yield getattr(prediction, kind)
