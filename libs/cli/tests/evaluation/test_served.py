import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from weir import Box as FoundBox
from weir import (
    Boxes,
    Choice,
    FinishReason,
    Generation,
    Kind,
    Prediction,
    Recommendation,
    ScoredClass,
    TokenLogprob,
    Usage,
)
from weir.prediction import WorkUsage
from weir_cli.evaluation.answers import (
    Answer,
    Classes,
    Found,
    Preferred,
    Ranking,
    Tokens,
    Unanswered,
)
from weir_cli.evaluation.boxes import Box
from weir_cli.evaluation.examples import (
    Classify,
    Continue,
    Detect,
    Example,
    Prefer,
    Rank,
    Read,
    Recommend,
)
from weir_cli.evaluation.served import ITEMS_MAX, Served, calls
from weir_cli.failure import Failure
from weir_kit.errors import (
    ContentBlocked,
    ContextLengthExceeded,
    InsufficientCredit,
    QueueFull,
    RateLimited,
    WeirError,
)


@dataclass
class Client:
    """Answers as the gateway would, after the errors of `refusals`; text tokens are words."""

    kind: Kind = Kind.CLASSES
    answer: Callable[[Any], Any] = lambda item: (ScoredClass(item, 0.75), ScoredClass("?", 0.25))
    refusals: list[WeirError] = field(default_factory=list)
    blocked: str = ""
    context_words: int = 1000
    altered: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0

    async def predict(self, model: str, **asked: Any) -> Prediction[Any]:
        self.asked.append({"model": model, **asked})
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        items = next(
            asked[kind] for kind in ("texts", "images", "users", "documents") if kind in asked
        )
        self._refuse(items)
        usage, answers = WorkUsage(1, len(items), 10), tuple(map(self.answer, items))
        return Prediction("req", model, "2", self.kind, answers, usage, 5, "USD", ())

    async def generate(self, model: str, text: str, **asked: Any) -> Generation:
        self.asked.append({"model": model, "text": text, **asked})
        self._refuse([text])
        words = text.split(" ")
        if len(words) > self.context_words:
            raise ContextLengthExceeded("too long")
        tokens, start = [], 0
        for place, word in enumerate(words):
            spelled = f" {word}" if place else word
            # Nothing comes before the first.
            logprob, top = (-float(len(word)), (("the", -3.0),)) if place else (None, ())
            tokens.append(TokenLogprob(spelled, logprob, top, start))
            start += len(spelled)
        choice = Choice(self.altered or text, FinishReason.LENGTH, tuple(tokens))
        return Generation("req", model, (choice,), Usage(len(words), 0, 0), None, None, ())

    def _refuse(self, items: Sequence[Any]) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        if self.blocked in items:
            raise ContentBlocked("a rule blocks this")


def classify(*texts: str) -> list[Example]:
    return [Classify("texts", text, frozenset({text})) for text in texts]


def served(client: Client, **more: Any) -> Served:
    options: dict[str, Any] = {"concurrency": 4, "top_k": 3, "labels": {}} | more
    return Served(client, options.pop("model", "m@stable"), **options)  # type: ignore[arg-type]


async def ask(client: Client, examples: Sequence[Example], **more: Any) -> list[Answer]:
    return await served(client, **more).ask(examples, lambda n: None)


async def test_answers_come_in_the_order_of_the_examples_from_few_calls_at_a_time() -> None:
    client, heard = Client(), []
    texts = [str(i) for i in range(100)]
    one = served(client, concurrency=3)
    answers = await one.ask(classify(*texts), heard.append)
    assert answers == [Classes({text: 0.75, "?": 0.25}) for text in texts]
    assert client.most_running == 3 and sum(heard) == 100
    assert all(len(asked["texts"]) <= ITEMS_MAX for asked in client.asked)
    first = client.asked[0]
    assert (first["model"], first["version"], first["top_k"]) == ("m", "stable", 3)
    assert first["min_score"] == 0  # none left out: ROC AUC wants them all
    spent = one.spent
    assert (spent.calls, spent.items, spent.cost_nanos, spent.versions) == (7, 100, 35, {"2"})


async def test_a_reached_limit_is_waited_for_as_the_server_says() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    refusals: list[WeirError] = [RateLimited("slow", retry_after_s=2.5), QueueFull("full")]
    client = Client(refusals=refusals)
    assert await ask(client, classify("a"), sleep=sleep) == [Classes({"a": 0.75, "?": 0.25})]
    assert slept == [2.5, 1.0] and len(client.asked) == 3

    client = Client(refusals=[RateLimited("come tomorrow", retry_after_s=80_000)])
    with pytest.raises(RateLimited, match="tomorrow"):
        await ask(client, classify("a"), sleep=sleep)
    assert len(slept) == 2

    client = Client(refusals=[QueueFull("full", retry_after_s=100) for _ in range(9)])
    with pytest.raises(QueueFull):
        await ask(client, classify("a"), sleep=sleep)
    assert slept[2:] == [100, 100, 100]


async def test_what_one_example_is_refused_for_is_its_own() -> None:
    client = Client(blocked="bad")
    answers = await ask(client, classify("a", "bad", "b"))
    assert [type(one) for one in answers] == [Classes, Unanswered, Classes]
    assert answers[1] == Unanswered("content_blocked", "a rule blocks this")


async def test_what_all_calls_would_be_refused_for_ends_the_evaluation() -> None:
    with pytest.raises(InsufficientCredit):
        await ask(Client(refusals=[InsufficientCredit("none left")]), classify("a"))
    with pytest.raises(Failure, match="answers with embedding; this suite wants classes"):
        await ask(Client(Kind.EMBEDDING), classify("a"))


async def test_labels_get_the_suite_s_names() -> None:
    client = Client(
        answer=lambda _: (ScoredClass("1", 0.4), ScoredClass("2", 0.35), ScoredClass("3", 0.25))
    )
    [answer] = await ask(client, classify("a"), labels={"2": "spam", "3": "spam", "1": "ham"})
    assert isinstance(answer, Classes)
    assert list(answer.scores.items()) == [("spam", pytest.approx(0.6)), ("ham", 0.4)]


async def test_boxes_rankings_and_recommendations_are_read(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"png")
    found = Boxes((FoundBox(0, 1, 2, 3, "cat", 0.5),), 9, 9)
    detector = Client(Kind.BOXES, lambda _: found)
    answers = await ask(detector, [Detect(picture, ())], labels={"cat": "Cat"})
    assert answers == [Found((Box("Cat", 0, 1, 2, 3, 0.5),))]
    assert detector.asked[0]["min_score"] < 0.01  # mAP wants the unsure boxes too

    ranked = Client(Kind.SCORE, lambda document: {"a": 0.1, "b": 0.9, "c": 0.5}[document])
    assert await ask(ranked, [Rank("q", ("a", "b", "c"), {"1": 1.0})]) == [Ranking(("1", "2", "0"))]

    liked = Client(
        Kind.RECOMMENDATIONS,
        lambda user: (Recommendation(f"{user.history[0]}!", "", 1.0, ()),),
    )
    assert await ask(liked, [Recommend(("7",), {"8": 1.0}), Recommend(("9",), {"8": 1.0})]) == [
        Ranking(("7!",)),
        Ranking(("9!",)),
    ]
    assert liked.asked[0]["top_k"] == 3 and len(liked.asked) == 1


async def test_texts_are_scored_by_the_prompt_s_own_log_probabilities() -> None:
    client = Client()
    answers = await ask(
        client,
        [
            Continue("once upon", " the end"),  # words of 3 letters: as likely as the likeliest
            Continue("once upon", " sea there"),
            Prefer("he is", "he were"),
            Read("a tale of two"),
        ],
    )
    assert answers == [
        Tokens((-3.0, -3.0), are_likeliest=True),
        Tokens((-3.0, -5.0), are_likeliest=False),
        Preferred(-2.0, -4.0),
        Tokens((-4.0, -2.0, -3.0), are_likeliest=False),
    ]
    asked = client.asked[0]
    assert (asked["model"], asked["text"]) == ("m@stable", "once upon the end")
    assert (asked["echo"], asked["max_output_tokens"], asked["top_logprobs"]) == (True, 0, 1)


async def test_a_continuation_begins_with_the_token_that_reaches_into_it() -> None:
    [answer] = await ask(Client(), [Continue("once up", "on a")])
    assert answer == Tokens((-4.0, -1.0), are_likeliest=False)


async def test_a_text_longer_than_the_context_is_read_in_halves() -> None:
    text = " ".join(["tale"] * 40)
    client = Client(context_words=11)
    [answer] = await ask(client, [Read(text)])
    assert isinstance(answer, Tokens)
    # The first word of each piece has nothing before it.
    pieces = [asked["text"] for asked in client.asked if len(asked["text"].split(" ")) <= 11]
    assert "".join(pieces) == text
    assert len(answer.logprobs) == sum(len(piece.split(" ")) - 1 for piece in pieces)

    [answer] = await ask(Client(context_words=0), [Read("tale")])
    assert answer == Unanswered("context_length_exceeded", "too long")


async def test_a_text_that_the_policy_changed_is_not_scored() -> None:
    [changed, short] = await ask(Client(altered="***"), [Read("a tale"), Read("tale")])
    assert isinstance(changed, Unanswered) and changed.reason == "content_blocked"
    [short] = await ask(Client(), [Read("tale")])
    assert short == Unanswered("invalid_argument", "the text has too few tokens to score")


async def test_a_prediction_without_a_price_is_counted() -> None:
    one = served(Client())
    await one.ask([Read("a tale")], lambda n: None)
    assert (one.spent.unpriced_calls, one.spent.currency, one.spent.input_tokens) == (1, None, 2)


def test_a_call_holds_no_more_than_a_message_can(tmp_path: Path) -> None:
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(bytes(3 << 20))
    small.write_bytes(bytes(1 << 10))
    files = [small, large, large, *[small] * 30]
    examples = [Classify("images", file, frozenset({"a"})) for file in files]
    places = list(calls(examples))
    assert [place for some in places for place in some] == list(range(len(files)))
    assert places[0] == [0, 1] and places[1] == [2, *range(3, 18)] and len(places) == 3
    assert list(calls([Read("a"), Read("b")])) == [[0], [1]]
