"""What rounding the weights costs: perplexity on text that the model never saw."""

import asyncio
import math
from argparse import Namespace
from contextlib import aclosing

from tokenizers import Tokenizer

from engine.metrics import Metric
from engine.paths import ASSETS, WEIR_TALES
from engine.weir import open_engine, request
from weir_inference.core.engine import PromptScored
from weir_inference.core.engine_loop import EngineLoop
from weir_inference.pretrain.__main__ import HELD_OUT_BOOKS, SKIP
from weir_inference.pretrain.corpus import read_corpus

N_WINDOWS = 80  # of 306, evenly chosen from all texts
N_AT_ONCE = 16
KINDS = ("bf16", "int8", "int4")


async def measure(options: Namespace) -> list[Metric]:
    """`perplexity/weir-tales/{bf16,int8,int4}` a token, on held-out texts; ratio to bf16.

    Windows are one token shorter than the context, so that a token can be generated after them;
    `training.json`'s are as long as the context: 31.0 by its own numbers, over all of them.
    """
    windows = held_out_windows()
    keep = min(len(windows), max(20, round(N_WINDOWS * options.scale)))
    windows = [windows[i * len(windows) // keep] for i in range(keep)]
    found: dict[str, float] = {}
    for kind in KINDS:
        wish = {} if kind == "bf16" else {"quantize": kind}
        async with open_engine(WEIR_TALES, **(options.wishes | {"dtype": "bf16"} | wish)) as engine:
            found[kind] = await perplexity(engine, windows)
        print(f"{kind}: {found[kind]:.3f}", flush=True)
    note = f"{sum(map(len, windows))} tokens of held-out text in windows of {len(windows[0])}"
    return [
        Metric.over(f"perplexity/weir-tales/{kind}", value, "per token", found["bf16"], note)
        for kind, value in found.items()
    ]


def held_out_windows() -> list[list[int]]:
    """Every held-out text in windows; each begins with the last token of the one before."""
    corpus = read_corpus(ASSETS / "corpora", HELD_OUT_BOOKS, SKIP)
    tokenizer = Tokenizer.from_file(str(WEIR_TALES / "tokenizer.json"))
    n_window = 511
    windows = []
    for text in corpus.held_out.values():
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        windows += [ids[at : at + n_window] for at in range(0, len(ids) - 1, n_window - 1)]
    return windows


async def perplexity(engine: EngineLoop, windows: list[list[int]]) -> float:
    """e to the mean of -log p of each token but a window's first."""
    left = iter(windows)
    nats, n_tokens = 0.0, 0

    async def client() -> None:
        nonlocal nats, n_tokens
        for window in left:
            logprobs = await prompt_logprobs(engine, window)
            nats -= sum(logprobs)
            n_tokens += len(logprobs)

    await asyncio.gather(*(client() for _ in range(N_AT_ONCE)))
    assert n_tokens == sum(len(window) - 1 for window in windows)
    return math.exp(nats / n_tokens)


async def prompt_logprobs(engine: EngineLoop, window: list[int]) -> list[float]:
    """The log-probability of each token of a window but the first."""
    generation = engine.submit(request(window, 1, prompt_top_logprobs=0))
    found: list[float] = []
    try:
        async with aclosing(generation.events()) as events:
            async for event in events:
                if isinstance(event, PromptScored):
                    found = [one.logprob for one in event.logprobs]
    finally:
        generation.close()
    return found
