"""Weir's own engine, opened as the service opens it and asked as the service asks it."""

import asyncio
import dataclasses
import importlib.metadata
import itertools
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from weir_inference.adapters.engines.torch.torch_engine import TorchSettings, open_torch_engine
from weir_inference.core.engine import Delta
from weir_inference.core.engine_loop import EngineLoop
from weir_inference.core.request import Request
from weir_inference.core.sampling import Sampling
from weir_kit.clock import SystemClock

GREEDY = Sampling(temperature=0.0, seed=0, ignore_eos=True)
NO_FEATURES = {"prefix_caching": False, "draft_tokens": 0}  # what the peers do without

_numbers = itertools.count()


@dataclass(frozen=True)
class Answer:
    """A finished request: when it was asked and when each token came, on `time.perf_counter`."""

    asked_s: float
    token_ids: list[int] = field(default_factory=list)
    arrived_s: list[float] = field(default_factory=list)

    @property
    def ttft_s(self) -> float:
        """Seconds to the first token."""
        return self.arrived_s[0] - self.asked_s

    @property
    def itl_s(self) -> list[float]:
        """Seconds between one token and the next."""
        return [after - before for before, after in itertools.pairwise(self.arrived_s)]


def torch_settings(**wishes: object) -> TorchSettings:
    """Settings with these wishes. An engine without a feature need not be told to leave it off."""
    known = {one.name for one in dataclasses.fields(TorchSettings)}
    lacking = [name for name, value in wishes.items() if name not in known and value]
    if lacking:
        raise SystemExit(f"this engine has no setting {', '.join(lacking)}")
    return TorchSettings(**{name: value for name, value in wishes.items() if name in known})


def read_settings(texts: list[str]) -> dict[str, object]:
    """`step_tokens=2048` and the like, by the type of the setting's default."""
    defaults = {one.name: one.default for one in dataclasses.fields(TorchSettings)}
    pairs = (text.partition("=") for text in texts)
    return {
        name: value.lower() in ("1", "true", "on")
        if isinstance(defaults.get(name), bool)
        else type(defaults.get(name, ""))(value)
        for name, _, value in pairs
    }


@asynccontextmanager
async def open_engine(folder: Path, **wishes: object) -> AsyncIterator[EngineLoop]:
    """The engine of a model's folder."""
    settings = torch_settings(**wishes)
    async with open_torch_engine(folder.name, str(folder), settings, SystemClock()) as engine:
        yield engine


def request(prompt: list[int], n_output: int, **fields: object) -> Request:
    """A greedy request that runs to its full length."""
    return Request(f"bench-{next(_numbers)}", tuple(prompt), n_output, GREEDY, **fields)


async def ask(
    engine: EngineLoop, asked: Request, arrived: Callable[[tuple[int, ...]], None] | None = None
) -> Answer:
    """Generate to the end; `arrived` is told of tokens as they come."""
    answer = Answer(time.perf_counter())
    generation = engine.submit(asked)
    try:
        async with aclosing(generation.events()) as events:
            async for event in events:
                if isinstance(event, Delta):
                    now_s = time.perf_counter()
                    answer.token_ids.extend(event.token_ids)
                    answer.arrived_s.extend([now_s] * len(event.token_ids))
                    if arrived is not None:
                        arrived(event.token_ids)
    finally:
        generation.close()
    return answer


@contextmanager
def open_weir(options: Namespace) -> Iterator[tuple[str, Callable[..., None]]]:
    """Weir behind the function that `engine_peer.py` measures its engines by."""
    wishes = NO_FEATURES | {"threads": options.threads} | read_settings(options.setting)

    async def batch(
        engine: EngineLoop,
        prompts: list[list[int]],
        n_output: int,
        arrived: Callable[[list[tuple[int, int]]], None],
    ) -> None:
        async def one(row: int, prompt: list[int]) -> None:
            def note(token_ids: tuple[int, ...]) -> None:
                arrived([(row, token_id) for token_id in token_ids])

            await ask(engine, request(prompt, n_output), note)

        await asyncio.gather(*(one(row, prompt) for row, prompt in enumerate(prompts)))

    with asyncio.Runner() as runner:
        opening = open_engine(options.model, **wishes)
        engine = runner.run(opening.__aenter__())
        try:
            version = importlib.metadata.version("weir-inference")
            yield version, lambda *batch_of: runner.run(batch(engine, *batch_of))
        finally:
            runner.run(opening.__aexit__(None, None, None))
