"""A request that shares 512 tokens with the one before it: how much sooner is its first token?"""

import random
import statistics
from argparse import Namespace

from engine.metrics import Metric
from engine.paths import model_folder
from engine.weir import ask, open_engine, request

N_SHARED = 512
N_OWN = 16
N_PAIRS = 7


async def measure(options: Namespace) -> list[Metric]:
    """`ttft_prefix_hit/512`: the second request's TTFT over the first's, the median of pairs.

    Every pair has a prefix never seen before; both requests of it have an end of their own.
    """
    chance = random.Random(4)
    name = options.model or "qwen2-0.5b"
    wishes = options.wishes | {"prefix_caching": True}
    async with open_engine(model_folder(name), **wishes) as engine:

        def tokens(n: int) -> list[int]:
            return [chance.randrange(3, engine.model.vocab_size) for _ in range(n)]

        async def ttft_s(prompt: list[int]) -> float:
            return (await ask(engine, request(prompt, 2))).ttft_s

        await ttft_s(tokens(N_SHARED + N_OWN))  # the warm-up
        pairs = []
        for _ in range(max(3, round(N_PAIRS * options.scale))):
            shared = tokens(N_SHARED)
            first_s = await ttft_s(shared + tokens(N_OWN))
            pairs.append((first_s, await ttft_s(shared + tokens(N_OWN))))
    first_s, second_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    note = (
        f"{name}: first {1e3 * first_s:.1f} ms, second {1e3 * second_s:.1f} ms; "
        f"{N_SHARED} shared + {N_OWN} own tokens, {len(pairs)} pairs"
    )
    ratio = statistics.median(second / first for first, second in pairs)
    return [Metric.share(f"ttft_prefix_hit/{N_SHARED}", ratio, note)]
