"""`PredictionService`: messages become core's types and back, and bounds are kept."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, fields, replace

import grpc
import numpy as np
import pytest

from weir_contracts.common.v1 import prediction_pb2 as common
from weir_contracts.inference.v1 import prediction_pb2 as pb
from weir_contracts.inference.v1.prediction_pb2_grpc import (
    PredictionServiceStub,
    add_PredictionServiceServicer_to_server,
)
from weir_inference.core.prediction import (
    Blobs,
    Box,
    Boxes,
    Classes,
    Embedding,
    Line,
    Lines,
    Pictures,
    Prediction,
    PredictionAnswer,
    PredictionCall,
    PredictionInput,
    PredictionOptions,
    Recommendation,
    Recommendations,
    RerankQuery,
    Score,
    ScoredClass,
    Span,
    Spans,
    Texts,
    User,
    Users,
)
from weir_inference.rpc.prediction import (
    PredictionServicer,
    input_of,
    message_of,
    options_of,
)
from weir_kit.clock import ManualClock
from weir_kit.errors import InvalidArgument
from weir_kit.local import local_channel
from weir_kit.service import Servicer

CLOCK = ManualClock()


@dataclass
class FakePredictions:
    """`Predictions` that gives each item a score."""

    calls: list[PredictionCall] = field(default_factory=list)

    async def predict(self, call: PredictionCall) -> PredictionAnswer:
        self.calls.append(call)
        scores = [Score(i / 2) for i in range(call.input.n_items)]
        return PredictionAnswer("7", scores, 1234)


@pytest.fixture
def predictions() -> FakePredictions:
    return FakePredictions()


@pytest.fixture
async def stub(predictions: FakePredictions) -> AsyncIterator[PredictionServiceStub]:
    servicer = Servicer(
        "weir.inference.v1.PredictionService",
        PredictionServicer(predictions, CLOCK),
        add_PredictionServiceServicer_to_server,
    )
    channel: grpc.aio.Channel
    async with local_channel(servicer) as channel:
        yield PredictionServiceStub(channel)


async def test_a_call_reaches_core_and_its_answer_the_caller(
    stub: PredictionServiceStub, predictions: FakePredictions
) -> None:
    rerank = common.RerankQuery(query="q", documents=["a", "b"])
    request = pb.PredictRequest(
        request_id="r1",
        model="m",
        version="stable",
        input=common.PredictionInput(rerank=rerank),
        options=common.PredictionOptions(top_k=3, min_score=0.0, dimensions=8),
    )
    response = await stub.Predict(request, metadata=(("weir-admission", "token"),))
    (call,) = predictions.calls
    assert replace(call, deadline_s=None) == PredictionCall(
        "token", "r1", "m", "stable", RerankQuery("q", ("a", "b")), PredictionOptions(3, 0.0, 8)
    )
    assert response.version == "7"
    assert [one.score for one in response.predictions] == [0.0, 0.5]
    usage = response.usage
    assert (usage.requests, usage.items, usage.compute_us) == (1, 2, 1234)


async def test_a_caller_s_deadline_is_core_s(
    stub: PredictionServiceStub, predictions: FakePredictions
) -> None:
    request = pb.PredictRequest(input=common.PredictionInput(texts={"texts": ["a"]}))
    await stub.Predict(request, timeout=50)
    deadline_s = predictions.calls[0].deadline_s
    assert deadline_s is not None
    assert 0 < deadline_s - CLOCK.monotonic_s() <= 50


INPUTS = [
    (common.PredictionInput(texts={"texts": ["é", ""]}), Texts(("é", ""))),
    (common.PredictionInput(pictures={"pictures": [b"\x89"]}), Pictures((b"\x89",))),
    (common.PredictionInput(blobs={"blobs": [b"", b"x"]}), Blobs((b"", b"x"))),
    (
        common.PredictionInput(users={"users": [{"history": ["1", "2"], "excluded": ["3"]}, {}]}),
        Users((User(("1", "2"), ("3",)), User())),
    ),
]


@pytest.mark.parametrize(("message", "expected"), INPUTS)
def test_inputs_of_every_kind(message: common.PredictionInput, expected: PredictionInput) -> None:
    assert input_of(message) == expected
    assert expected.n_items == len(getattr(expected, fields(expected)[0].name))


def test_what_is_not_asked_for_is_the_model_s_choice() -> None:
    assert options_of(common.PredictionOptions()) == PredictionOptions()


BOX = Box(1.0, 2.0, 3.0, 4.0, "cat", 0.5)
SAID = {"x_min": 1.0, "y_min": 2.0, "x_max": 3.0, "y_max": 4.0, "label": "cat", "score": 0.5}
PREDICTIONS = [
    (Classes((ScoredClass("a", 0.5),)), {"classes": {"classes": [{"label": "a", "score": 0.5}]}}),
    (
        Spans((Span(1, 3, "PER", 0.5),)),
        {"spans": {"spans": [{"start": 1, "end": 3, "label": "PER", "score": 0.5}]}},
    ),
    (Embedding(np.array([0.5, 2.0], np.float32)), {"embedding": {"values": [0.5, 2.0]}}),
    (Score(0.25), {"score": 0.25}),
    (Boxes((BOX,), 8, 9), {"boxes": {"boxes": [SAID], "width": 8, "height": 9}}),
    (
        Lines((Line(BOX, "hi", 180),)),
        {"lines": {"lines": [{"box": SAID, "text": "hi", "turned": 180}]}},
    ),
    (
        Recommendations((Recommendation("1", "One", 0.5, ("2",)),)),
        {
            "recommendations": {
                "items": [{"id": "1", "title": "One", "score": 0.5, "because": ["2"]}]
            }
        },
    ),
]


@pytest.mark.parametrize(("prediction", "said"), PREDICTIONS)
def test_predictions_of_every_kind(prediction: Prediction, said: dict[str, object]) -> None:
    assert message_of(prediction) == common.Prediction(**said)  # type: ignore[arg-type]


LONG = "é" * (32 << 10)  # 64 KiB

REFUSED = [
    ({}, "input", "one of its kinds"),
    ({"texts": {}}, "input.texts", r"1\.\.1024 items, not 0"),
    ({"texts": {"texts": ["a"] * 1025}}, "input.texts", "not 1025"),
    ({"texts": {"texts": ["a", LONG + "."]}}, "input.texts[1]", "65536 bytes"),
    ({"pictures": {}}, "input.pictures", "not 0"),
    ({"blobs": {"blobs": [b""] * 1025}}, "input.blobs", "not 1025"),
    ({"rerank": {"query": "q"}}, "input.rerank.documents", "not 0"),
    ({"rerank": {"query": LONG + ".", "documents": ["a"]}}, "input.rerank.query", "65536 bytes"),
    (
        {"rerank": {"query": "q", "documents": ["a", LONG + "."]}},
        "input.rerank.documents[1]",
        "65536",
    ),
    ({"users": {"users": [{}] * 1025}}, "input.users", "not 1025"),
    ({"users": {"users": [{}, {"excluded": ["1"] * 10_001}]}}, "input.users[1].excluded", "10000"),
]


@pytest.mark.parametrize(("said", "at", "reason"), REFUSED)
def test_the_field_at_fault_is_named(said: dict[str, object], at: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason) as caught:
        input_of(common.PredictionInput(**said))  # type: ignore[arg-type]
    assert caught.value.field == at


def test_texts_of_the_largest_size_are_taken() -> None:
    assert input_of(common.PredictionInput(texts={"texts": [LONG]})) == Texts((LONG,))


@pytest.mark.parametrize("name", ["top_k", "dimensions"])
def test_counts_below_zero_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="1 or more") as caught:
        options_of(common.PredictionOptions(**{name: -1}))  # type: ignore[arg-type]
    assert caught.value.field == f"options.{name}"
