"""A served model, asked for every example of a suite as any client asks: by the SDK, with a key."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import weir
from weir import AsyncClient, Generation, Kind, Prediction, User
from weir_cli.evaluation.answers import (
    Answer,
    Found,
    Preferred,
    Ranking,
    Spent,
    Tokens,
    Unanswered,
    classes_of,
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
from weir_cli.failure import Failure
from weir_kit.errors import (
    ContentBlocked,
    ContextLengthExceeded,
    InvalidArgument,
    QueueFull,
    RateLimited,
    wire_of,
)

Answered = TypeVar("Answered", bound=Generation | Prediction[Any])

ITEMS_MAX = 16  # of a call
CALL_BYTES_MAX = 4 << 20
BOX_SCORE_MIN = 0.001  # mAP is over all recalls, so it wants unsure boxes too
RETRY_AFTER_S = 1.0  # where the server names no time
PATIENCE_S = 300.0  # how long one call may wait for its turn, all its waits together
ABOUT_ONE_EXAMPLE = (InvalidArgument, ContentBlocked)


class Served:
    """Asks one model, at most `concurrency` calls at a time.

    A call that is refused because a limit is reached is asked again when the server says. `spent`
    has what all calls took. `labels`: the suite's names for the model's, where they differ.
    """

    def __init__(
        self,
        client: AsyncClient,
        model: str,
        *,
        concurrency: int,
        top_k: int,
        labels: Mapping[str, str],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.spent = Spent()
        self._client = client
        self._model = model
        self._name, _, self._version = model.partition("@")
        self._concurrency = concurrency
        self._top_k = top_k
        self._labels = labels
        self._sleep = sleep

    async def ask(
        self, examples: Sequence[Example], on_answered: Callable[[int], None]
    ) -> list[Answer]:
        """The answer to each; `on_answered` hears of how many there are at a time.

        Raises the WeirError of a call that has nothing to do with its examples, and `Failure` if
        the model is of another task.
        """
        answers: dict[int, Answer] = {}
        waiting = calls(examples)

        async def work() -> None:
            for places in waiting:  # shared: each call is taken by one worker
                found = await self._answer([examples[place] for place in places])
                answers.update(zip(places, found, strict=True))
                on_answered(len(places))

        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(self._concurrency):
                    workers.create_task(work())
        except BaseExceptionGroup as group:
            raise _first(group) from None
        return [answers[place] for place in range(len(examples))]

    async def _answer(self, examples: Sequence[Example]) -> list[Answer]:
        """The answers of one call; if it is refused, those of a call for each example."""
        try:
            return await self._asked(examples)
        except ABOUT_ONE_EXAMPLE as error:
            if len(examples) == 1:
                return [Unanswered(wire_of(error).reason.lower(), error.message)]
        return [answer for example in examples for answer in await self._answer([example])]

    async def _asked(self, examples: Sequence[Example]) -> list[Answer]:
        match examples[0]:
            case Classify() as first:
                items: Any = [one.item for one in examples if isinstance(one, Classify)]
                told = await self._predict({first.kind: items}, top_k=self._top_k, min_score=0.0)
                _check_kind(told, Kind.CLASSES)
                return [classes_of(each, self._labels) for each in told.answers]
            case Detect():
                images = [one.image for one in examples if isinstance(one, Detect)]
                told = await self._predict({"images": images}, min_score=BOX_SCORE_MIN)
                _check_kind(told, Kind.BOXES)
                return [Found(tuple(map(self._box, each.boxes))) for each in told.answers]
            case Recommend():
                users = [User(one.history) for one in examples if isinstance(one, Recommend)]
                told = await self._predict({"users": users}, top_k=self._top_k)
                _check_kind(told, Kind.RECOMMENDATIONS)
                return [Ranking(tuple(one.id for one in each)) for each in told.answers]
            case Rank(query, documents):
                told = await self._predict({"query": query, "documents": documents})
                _check_kind(told, Kind.SCORE)
                order = sorted(range(len(documents)), key=lambda place: -told.answers[place])
                return [Ranking(tuple(map(str, order)))]
            case Continue(text, continuation):
                return [await self._tokens(text + continuation, start=len(text))]
            case Prefer(better, worse):
                sums = [sum((await self._tokens(text)).logprobs) for text in (better, worse)]
                return [Preferred(*sums)]
            case Read(text):
                return [await self._read(text)]

    async def _read(self, text: str) -> Tokens:
        """A text in halves, and those again, where the whole is longer than the model's context."""
        try:
            return await self._tokens(text)
        except ContextLengthExceeded:
            middle = text.find(" ", len(text) // 2)
            if middle < 1:
                raise
        first, second = await self._read(text[:middle]), await self._read(text[middle:])
        return replace(
            first,
            logprobs=first.logprobs + second.logprobs,
            are_likeliest=first.are_likeliest and second.are_likeliest,
        )

    async def _tokens(self, text: str, start: int = 0) -> Tokens:
        """The tokens of a text from a character on; the first of a text has no probability.

        Raises `ContentBlocked` where the tenant's policy changed the text: its tokens are others.
        """
        told = await self._call(
            lambda: self._client.generate(
                self._model, text, echo=True, max_output_tokens=0, top_logprobs=1
            )
        )
        if told.text != text:
            raise ContentBlocked("a rule of the tenant's policy changed the text")
        ends = [*(token.start for token in told.logprobs[1:]), len(text)]
        scored = [
            (token.logprob, token.top[0][1])
            for token, end in zip(told.logprobs, ends, strict=False)
            if token.logprob is not None and (token.start >= start or end > start)
        ]
        if not scored:
            raise InvalidArgument("the text has too few tokens to score", field="text")
        return Tokens(
            tuple(logprob for logprob, _ in scored), all(own >= best for own, best in scored)
        )

    def _box(self, box: weir.Box) -> Box:
        label = self._labels.get(box.label, box.label)
        return Box(label, box.x_min, box.y_min, box.x_max, box.y_max, box.score)

    async def _predict(self, items: dict[str, Any], **options: Any) -> Prediction[Any]:
        return await self._call(
            lambda: self._client.predict(self._name, version=self._version, **items, **options)
        )

    async def _call(self, ask: Callable[[], Awaitable[Answered]]) -> Answered:
        patience_s = PATIENCE_S
        while True:
            try:
                answer = await ask()
            except (RateLimited, QueueFull) as error:
                wait_s = error.retry_after_s or RETRY_AFTER_S
                patience_s -= wait_s
                if patience_s < 0:
                    raise
                await self._sleep(wait_s)
            else:
                self.spent.count(answer)
                return answer


def calls(examples: Sequence[Example]) -> Iterator[list[int]]:
    """The places of the examples that are asked for together: few enough, and small enough."""
    places: list[int] = []
    n_bytes = 0
    for place, example in enumerate(examples):
        size = _size(example)
        if places and (len(places) == ITEMS_MAX or n_bytes + size > CALL_BYTES_MAX):
            yield places
            places, n_bytes = [], 0
        places.append(place)
        n_bytes += size
    if places:
        yield places


def _size(example: Example) -> int:
    """Bytes, about; those that have a call to themselves fill it."""
    match example:
        case Classify(item=Path() as file) | Detect(image=file):
            return file.stat().st_size
        case Classify(item=item):
            return len(item)  # type: ignore[arg-type]
        case Recommend(history=history):
            return sum(map(len, history))
    return CALL_BYTES_MAX


def _check_kind(told: Prediction[Any], wanted: Kind) -> None:
    if told.kind is not wanted:
        raise Failure(f"the model answers with {told.kind}; this suite wants {wanted}")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error that is not a group."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
