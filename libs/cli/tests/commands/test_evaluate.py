import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from weir_contracts.common.v1.prediction_pb2 import Classes, Prediction, ScoredClass
from weir_contracts.inference.v1.inference_pb2 import Model

MANIFEST = "0" * 64 + "  model.onnx\n"
DIGEST = hashlib.sha256(MANIFEST.encode()).hexdigest()


@pytest.fixture
def suite(stack: Any, tmp_path: Path) -> Path:
    """Four reviews, of which the stack's model takes one for the other kind."""
    told = [("good", 0.9), ("good", 0.8), ("bad", 0.7), ("good", 0.6)]
    stack.gateway.tasks = {"reviews": "text-classification", "tales": "generation"}
    stack.gateway.predictions = [
        Prediction(classes=Classes(classes=[ScoredClass(label=label, score=score)]))
        for label, score in told
    ]
    stack.inference.models = [Model(name="reviews", version="2", digest=DIGEST)]
    file = tmp_path / "reviews.jsonl"
    labels = ("good", "good", "bad", "bad")
    file.write_text("".join(json.dumps({"text": "…", "label": one}) + "\n" for one in labels))
    return file


@pytest.fixture
def folder(suite: Path) -> Path:
    """The version's folder, with the suite in it."""
    (suite.parent / "SHA256SUMS").write_text(MANIFEST)
    return suite.parent


def require(folder: Path, metric: str, least: float) -> None:
    required = {"suite": "reviews.jsonl", "metric": metric, "min": least}
    (folder / "model.yaml").write_text(json.dumps({"requires": [required]}))


async def test_a_suite_s_scores_are_shown_with_what_they_cost(stack: Any, suite: Path) -> None:
    done = await stack.weir("eval", "reviews@stable", "--suite", str(suite))
    assert done.code == 0
    title, head, *rows = done.out.splitlines()
    assert title == "reviews 2 on reviews.jsonl, 4 examples"
    assert head.split() == ["metric", "value", "95", "%", "interval", "n"]
    assert rows[0].split() == ["accuracy", "0.750", "0.301", "to", "0.954", "4"]
    assert "reviews.jsonl: 4 of 4" in done.err
    assert done.err.splitlines()[-1] == "1 call, 4 items, 0.0 s of computing, 0.000020000 USD"
    [asked] = stack.gateway.asked
    assert (asked.model, asked.version) == ("reviews", "stable")
    assert stack.gateway.keys == ["Bearer weir_sk_demo"]


async def test_json_has_all_that_is_known(stack: Any, suite: Path) -> None:
    told = (await stack.weir("eval", "reviews", "--suite", str(suite), "--json")).json
    assert told.pop("date").endswith("+00:00")
    metrics = told.pop("metrics")
    assert metrics["accuracy"]["value"] == 0.75 and metrics["accuracy"]["n"] == 4
    assert told == {
        "model": "reviews",
        "version": "2",
        "digest": DIGEST,
        "suite": "reviews.jsonl",
        "examples": 4,
        "seed": 0,
        "unanswered": {},
        "failed": [],
        "usage": {
            "calls": 1,
            "items": 4,
            "input_tokens": 0,
            "output_tokens": 0,
            "compute_us": 1500,
        },
        "cost_nanos": 20_000,
        "currency": "USD",
        "unpriced_calls": 0,
    }


async def test_a_score_out_of_its_bounds_ends_with_1(stack: Any, suite: Path) -> None:
    ask = ("eval", "reviews", "--suite", str(suite))
    assert (await stack.weir(*ask, "--min", "accuracy=0.75")).code == 0
    done = await stack.weir(*ask, "--json", "--min", "accuracy=0.8", "--max", "macro_f1=0.1")
    assert done.code == 1
    why = ["accuracy is 0.75, below 0.8", "macro_f1 is 0.7333, above 0.1"]
    assert json.loads(done.out)["failed"] == why
    assert f"reviews.jsonl: {why[0]}; reviews.jsonl: {why[1]}" in done.err


async def test_a_gate_checks_what_the_model_yaml_requires(stack: Any, folder: Path) -> None:
    ask = ("eval", "--gate", str(folder), "--model", "reviews@2", "--json")
    require(folder, "accuracy", 0.7)
    [report] = (await stack.weir(*ask)).json["suites"]
    assert (report["suite"], report["failed"]) == ("reviews.jsonl", [])
    require(folder, "accuracy", 0.8)
    done = await stack.weir(*ask)
    assert (done.code, "accuracy is 0.75, below 0.8" in done.err) == (1, True)


async def test_a_gate_is_not_passed_by_another_version(stack: Any, folder: Path) -> None:
    require(folder, "accuracy", 0.7)
    (folder / "SHA256SUMS").write_text(MANIFEST.replace("0", "1"))
    done = await stack.weir("eval", "--gate", str(folder), "--model", "reviews")
    assert (done.code, "reviews 2 is not what lies in" in done.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("reviews",), "give either --suite, or --gate"),
        (("--suite", "SUITE"), "name one model"),
        (("reviews", "--model", "reviews", "--suite", "SUITE"), "name one model"),
        (("gone", "--suite", "SUITE"), "there is no model 'gone'; served: reviews, tales"),
        (("tales", "--suite", "SUITE"), "is for text-classification or language-id; tales does"),
        (("reviews", "--suite", "SUITE", "--min", "map=0"), "reviews.jsonl has no map; it has"),
        (("reviews", "--suite", "SUITE", "--label", "good"), "must be MODELS=SUITES"),
        (("reviews", "--gate", ".", "--min", "map=0"), "--min and --max are for --suite"),
    ],
)
async def test_what_does_not_fit_is_said(
    stack: Any, suite: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = await stack.weir("eval", *(str(suite) if one == "SUITE" else one for one in arguments))
    assert (done.code, done.out, stack.gateway.asked) == (1, "", [])  # and nothing was charged
    assert message in " ".join(done.err.split())
