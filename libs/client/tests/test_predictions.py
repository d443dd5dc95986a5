"""Both clients ask models that answer in one piece: each test runs over each of them."""

from pathlib import Path
from typing import Any

import pytest

import weir
from weir.asking import MESSAGE_BYTES_MAX
from weir.errors import DeadlineExceeded, Internal, InvalidArgument, ModelNotFound
from weir_contracts.common.v1 import prediction_pb2 as pb

BOX = {"x_min": 1, "y_min": 2, "x_max": 3, "y_max": 4, "score": 0.5}
CLASSES = pb.Prediction(
    classes=pb.Classes(
        classes=[pb.ScoredClass(label="7", score=0.75), pb.ScoredClass(label="1", score=0.25)]
    )
)
SPANS = pb.Prediction(spans=pb.Spans(spans=[pb.Span(start=1, end=3, label="PER", score=0.5)]))
EMBEDDING = pb.Prediction(embedding=pb.Embedding(values=[0.5, -0.25]))
BOXES = pb.Prediction(boxes=pb.Boxes(boxes=[pb.Box(label="cat", **BOX)], width=640, height=480))
LINES = pb.Prediction(lines=pb.Lines(lines=[pb.Line(box=pb.Box(**BOX), text="EXIT", turned=180)]))
RECOMMENDATIONS = pb.Prediction(
    recommendations=pb.Recommendations(
        items=[pb.Recommendation(id="50", title="A film", score=1.5, because=["1", "2"])]
    )
)
FOUND_CLASSES = (weir.ScoredClass("7", 0.75), weir.ScoredClass("1", 0.25))

# method, its arguments, what the model gives, what the client makes of it, which input was sent
ASKED = [
    ("classify", {"texts": "hallo"}, CLASSES, FOUND_CLASSES, "texts"),
    ("classify", {"blobs": [b"%PDF"]}, CLASSES, FOUND_CLASSES, "blobs"),
    ("find_spans", {"texts": ["Ada"]}, SPANS, (weir.Span(1, 3, "PER", 0.5),), "texts"),
    ("embed", {"texts": ["a"]}, EMBEDDING, [0.5, -0.25], "texts"),
    (
        "detect",
        {"images": b"png"},
        BOXES,
        weir.Boxes((weir.Box(1, 2, 3, 4, "cat", 0.5),), 640, 480),
        "pictures",
    ),
    (
        "read_lines",
        {"images": b"png"},
        LINES,
        (weir.Line(weir.Box(1, 2, 3, 4, "", 0.5), "EXIT", 180),),
        "pictures",
    ),
    (
        "recommend",
        {"users": weir.User(["1", "2"], ["3"])},
        RECOMMENDATIONS,
        (weir.Recommendation("50", "A film", 1.5, ("1", "2")),),
        "users",
    ),
]


@pytest.mark.parametrize(("method", "asked", "given", "answer", "sent"), ASKED)
async def test_each_task_has_a_method_and_plain_answers(
    client: Any, room: Any, method: str, asked: dict[str, Any], given: Any, answer: Any, sent: str
) -> None:
    room.predictions = [given]
    found = await getattr(client, method)("some-model", **asked)
    assert found.answers == (answer,)
    assert found == await client.predict("some-model", **asked)
    assert {r.input.WhichOneof("kind") for r in room.predict_requests} == {sent}


async def test_an_answer_says_what_it_cost_and_which_version_gave_it(
    client: Any, room: Any
) -> None:
    room.predictions = [CLASSES, CLASSES]
    found = await client.classify("weir-digits", images=[b"a", b"b"], request_id="mine")
    assert found == weir.Prediction(
        request_id="mine",
        model="weir-digits",
        version="2",
        kind=weir.Kind.CLASSES,
        answers=(FOUND_CLASSES, FOUND_CLASSES),
        usage=weir.WorkUsage(1, 2, 1500),
        cost_nanos=4500,
        currency="USD",
        findings=(weir.Finding("email", "redact", "output", 1, 5),),
    )
    room.has_cost = False
    found = await client.classify("weir-digits", images=[b"a", b"b"])
    assert (found.cost_nanos, found.currency) == (None, None)


async def test_documents_come_back_ranked(client: Any, room: Any) -> None:
    room.predictions = [pb.Prediction(score=score) for score in (0.25, 0.75, 0.25)]
    found = await client.rerank("ranker", "who?", ["a", "b", "c"])
    assert found.answers == (
        weir.Ranked(1, "b", 0.75),
        weir.Ranked(0, "a", 0.25),
        weir.Ranked(2, "c", 0.25),
    )
    [request] = room.predict_requests
    assert request.input.rerank == pb.RerankQuery(query="who?", documents=["a", "b", "c"])


async def test_pictures_are_bytes_or_paths(client: Any, room: Any, tmp_path: Path) -> None:
    room.predictions = [CLASSES]
    file = tmp_path / "7.png"
    file.write_bytes(b"seven")
    for images in (file, str(file), b"seven", [file, str(file), b"seven"]):
        await client.classify("weir-digits", images=images)
    *single, several = [list(r.input.pictures.pictures) for r in room.predict_requests]
    assert single == [[b"seven"]] * 3 and several == [b"seven"] * 3


async def test_options_are_sent_as_given(client: Any, room: Any) -> None:
    room.predictions = [CLASSES]
    options = {"top_k": 3, "min_score": 0.0, "dimensions": 64}
    await client.classify("weir-digits", texts="a", version="stable", **options)
    await client.classify("weir-digits", texts="a", top_k=None)
    full, bare = room.predict_requests
    assert full.version == "stable" and full.options == pb.PredictionOptions(**options)
    assert full.options.HasField("min_score") and not bare.options.HasField("min_score")
    assert (bare.version, bare.options) == ("", pb.PredictionOptions())


async def test_a_user_without_a_history_is_sent_as_one(client: Any, room: Any) -> None:
    room.predictions = [RECOMMENDATIONS, RECOMMENDATIONS]
    await client.recommend("weir-movies", [weir.User(), weir.User(["1"], ["2"])])
    [request] = room.predict_requests
    assert list(request.input.users.users) == [pb.User(), pb.User(history=["1"], excluded=["2"])]


async def test_a_model_of_another_task_is_told_apart(client: Any, room: Any) -> None:
    room.predictions = [BOXES]
    with pytest.raises(InvalidArgument, match="answers with boxes, not with classes") as caught:
        await client.classify("detector", images=b"png")
    assert caught.value.field == "model"


async def test_an_answer_of_a_kind_to_come_is_an_error(client: Any, room: Any) -> None:
    for predictions in ([], [pb.Prediction()], [CLASSES, BOXES]):
        room.predictions = predictions
        with pytest.raises(Internal):
            await client.predict("new-model", texts="a")


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "texts"),
        ({"texts": "a", "images": b"a"}, "images"),
        ({"query": "who?"}, "documents"),
        ({"texts": "a", "documents": ["a"]}, "documents"),
        ({"query": "who?", "documents": "a"}, "documents"),
        ({"users": weir.User("1,2")}, "history"),
        ({"users": weir.User([1])}, None),
        ({"texts": "a", "top_k": 2**31}, None),
        ({"texts": ["\ud800"]}, None),
        ({"images": [b"a", "/nowhere/7.png"]}, "images[1]"),
        ({"images": ["/"]}, "images[0]"),
        ({"blobs": [bytes(MESSAGE_BYTES_MAX // 2)] * 3}, "blobs"),
        ({"texts": ["a" * 65536] * 1024}, "texts"),
    ],
)
async def test_what_cannot_be_sent_is_refused_before_it_is(
    client: Any, room: Any, asked: dict[str, Any], field: str | None
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await client.predict("some-model", **asked)
    assert caught.value.field == field
    assert room.predict_requests == []


async def test_errors_are_types_and_a_deadline_ends_a_call(client: Any, room: Any) -> None:
    room.error = ModelNotFound("no model 'gone'")
    with pytest.raises(ModelNotFound, match="gone"):
        await client.embed("gone", "a")
    room.error, room.hangs = None, True
    with pytest.raises(DeadlineExceeded):
        await client.embed("slow", "a", deadline_s=0.2)
