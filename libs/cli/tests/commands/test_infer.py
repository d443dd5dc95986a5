"""`weir infer`, by the model's task."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from weir_contracts.common.v1 import prediction_pb2 as pb

TASKS = {
    "weir-language": "language-id",
    "weir-digits": "image-classification",
    "names": "token-classification",
    "vectors": "embedding",
    "ranker": "rerank",
    "faces": "object-detection",
    "lines": "ocr",
    "magika": "file-type",
    "weir-movies": "recommendation",
    "weir-tales": "generation",
    "plain": "tensors",
    "future": "tea-making",
}
CLASSES = pb.Prediction(
    classes=pb.Classes(
        classes=[pb.ScoredClass(label="de", score=0.75), pb.ScoredClass(label="nl", score=0.25)]
    )
)
BOX = pb.Box(x_min=10, y_min=20, x_max=60, y_max=70, label="face", score=0.5)
BOXES = pb.Prediction(boxes=pb.Boxes(boxes=[BOX], width=100, height=100))
RECOMMENDED = pb.Prediction(
    recommendations=pb.Recommendations(
        items=[pb.Recommendation(id="50", title="A film", score=1.5, because=["1", "2"])]
    )
)


@pytest.fixture(autouse=True)
def tasks(stack: Any) -> None:
    stack.gateway.tasks = TASKS
    stack.gateway.predictions = [CLASSES]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (100, 100), "white").save(tmp_path / "white.png")
    return tmp_path / "white.png"


async def test_texts_are_classified_and_the_last_line_says_what_it_cost(stack: Any) -> None:
    done = await stack.weir("infer", "weir-language", "Guten Tag", "--top-k", "2")
    assert done.code == 0
    rows = [line.split() for line in done.out.splitlines()]
    assert rows == [["class", "score"], ["de", "0.7500"], ["nl", "0.2500"]]
    assert done.err == "weir-language 2, 1 item, 1.5 ms, 0.000020000 USD, req_1\n"
    [asked] = stack.gateway.asked
    assert list(asked.input.texts.texts) == ["Guten Tag"]
    assert asked.options == pb.PredictionOptions(top_k=2)
    assert stack.gateway.keys == ["Bearer weir_sk_demo"]


async def test_json_has_all_of_the_answer(stack: Any) -> None:
    done = await stack.weir("infer", "weir-language@stable", "Guten Tag", "--json")
    assert done.json == {
        "request_id": "req_1",
        "model": "weir-language",
        "version": "2",
        "kind": "classes",
        "answers": [[{"label": "de", "score": 0.75}, {"label": "nl", "score": 0.25}]],
        "usage": {"requests": 1, "items": 1, "compute_us": 1500},
        "cost_nanos": 20_000,
        "currency": "USD",
        "findings": [],
    }
    assert done.err == "" and stack.gateway.asked[0].version == "stable"


async def test_lines_of_stdin_are_items(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.gateway.predictions = [CLASSES, CLASSES]
    monkeypatch.setattr("sys.stdin", io.StringIO("Guten Tag\r\n\ngoedendag"))
    done = await stack.weir("infer", "weir-language", "-")
    assert list(stack.gateway.asked[0].input.texts.texts) == ["Guten Tag", "goedendag"]
    rows = done.out.splitlines()
    assert rows[1].split() == ["Guten", "Tag", "de", "0.7500"]
    assert rows[4].split() == ["goedendag", "nl", "0.2500"]
    monkeypatch.setattr("sys.stdin", io.StringIO("a\n" * 1025))
    assert "more than 1024 lines" in (await stack.weir("infer", "weir-language", "-")).err


@pytest.mark.parametrize(("model", "kind"), [("weir-digits", "pictures"), ("magika", "blobs")])
async def test_files_are_sent_by_what_the_task_takes(
    stack: Any, picture: Path, model: str, kind: str
) -> None:
    done = await stack.weir("infer", model, str(picture))
    assert done.code == 0
    sent = getattr(getattr(stack.gateway.asked[0].input, kind), kind)
    assert list(sent) == [picture.read_bytes()]


async def test_a_recommender_has_histories_not_inputs(stack: Any) -> None:
    stack.gateway.predictions = [RECOMMENDED]
    done = await stack.weir("infer", "weir-movies", "--history", "1, 2", "--exclude", "3,4")
    [user] = stack.gateway.asked[0].input.users.users
    assert user == pb.User(history=["1", "2"], excluded=["3", "4"])
    header, row = done.out.splitlines()
    assert header.split() == ["item", "title", "score", "because", "of"]
    assert row.split() == ["50", "A", "film", "1.5000", "1,", "2"]
    assert (await stack.weir("infer", "weir-movies")).code == 0
    assert list(stack.gateway.asked[1].input.users.users) == [pb.User()]


@pytest.mark.parametrize("model", ["ranker", "vectors"])
async def test_documents_are_shown_best_first(stack: Any, model: str) -> None:
    stack.gateway.predictions = [pb.Prediction(score=0.25), pb.Prediction(score=0.75)]
    done = await stack.weir("infer", model, "a", "b", "--query", "who?")
    asked = stack.gateway.asked[0].input.rerank
    assert asked == pb.RerankQuery(query="who?", documents=["a", "b"])
    rows = [line.split() for line in done.out.splitlines()]
    assert rows == [["place", "score", "document"], ["1", "0.7500", "b"], ["0", "0.2500", "a"]]


@pytest.mark.parametrize(
    ("model", "given", "shown"),
    [
        (
            "names",
            pb.Prediction(spans=pb.Spans(spans=[pb.Span(start=1, end=3, label="PER", score=0.5)])),
            "PER   bc      1   3  0.5000",
        ),
        (
            "vectors",
            pb.Prediction(embedding=pb.Embedding(values=[0.5, -0.25, 0, 0, 0])),
            "5  0.5000 -0.2500 0.0000 0.0000 …",
        ),
    ],
)
async def test_spans_and_embeddings_are_readable(
    stack: Any, model: str, given: pb.Prediction, shown: str
) -> None:
    stack.gateway.predictions = [given]
    done = await stack.weir("infer", model, "abcd")
    assert done.out.splitlines()[1].split() == shown.split()


@pytest.mark.parametrize(
    ("model", "given"),
    [
        ("faces", BOXES),
        ("lines", pb.Prediction(lines=pb.Lines(lines=[pb.Line(box=BOX, text="EXIT")]))),
    ],
)
async def test_what_is_found_is_drawn_where_it_is(
    stack: Any, picture: Path, tmp_path: Path, model: str, given: pb.Prediction
) -> None:
    stack.gateway.predictions = [given]
    target = tmp_path / "boxes.png"
    done = await stack.weir("infer", model, str(picture), "--plot", str(target))
    assert done.code == 0
    assert done.out.splitlines()[1].split()[1:] == ["0.5000", "10", "20", "60", "70"]
    with Image.open(target) as drawn:
        assert drawn.size == (100, 100)
        edges = [(10, 45), (60, 45), (35, 70)]
        assert all(drawn.getpixel(at) != (255, 255, 255) for at in edges)
        assert drawn.getpixel((35, 45)) == drawn.getpixel((90, 90)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("gone", "a"), "there is no model 'gone'; served: weir-language"),
        (("weir-tales", "a"), "weir chat --model weir-tales"),
        (("plain", "a"), "Open Inference Protocol"),
        (
            ("future", "a"),
            "future's task is 'tea-making', which this version of weir does not know",
        ),
        (("weir-language",), "give texts, or -"),
        (("weir-digits",), "give pictures, by their paths"),
        (("weir-digits", "-"), "- is for texts"),
        (("weir-digits", "/nowhere/7.png"), "/nowhere/7.png cannot be read"),
        (("weir-movies", "1"), "--history"),
        (("weir-language", "a", "--history", "1"), "are for recommenders"),
        (("weir-language", "a", "--query", "b"), "--query is for rerankers"),
        (("ranker", "a"), "give --query"),
        (("weir-digits", "7.png", "--plot", "out.png"), "--plot is for object-detection and ocr"),
        (("faces", "a.png", "b.png", "--plot", "out.png"), "--plot needs one picture"),
        (("faces", "a.png", "--plot", "out.txt"), "out.txt must end in one of .png"),
        (("faces", "a.png", "--plot", "/nowhere/out.png"), "there is no folder /nowhere"),
    ],
)
async def test_what_does_not_fit_is_one_clear_line_and_costs_nothing(
    stack: Any, arguments: tuple[str, ...], said: str
) -> None:
    done = await stack.weir("infer", *arguments)
    assert (done.code, done.out) == (1, "")
    assert said in done.err and done.err.startswith("weir: ") and done.err.count("\n") == 1
    assert stack.gateway.asked == []
