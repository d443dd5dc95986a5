"""One tenant floods with 64 requests: what does another, asking one at a time, feel of it?"""

import asyncio
import itertools
import random
import statistics
import time
from argparse import Namespace

from engine.metrics import Metric
from engine.paths import model_folder
from engine.weir import ask, open_engine, request

N_FLOOD = 64
N_PROMPT = 512
N_FLOOD_OUTPUT = 64
N_OUTPUT = 8
N_ASKED = 100
ASKING_MAX_S = 120.0  # an unfair engine makes each request wait for the whole flood


async def measure(options: Namespace) -> list[Metric]:
    """`fairness_ttft_p99/flood`: the quiet tenant's TTFT p99 beside the flood over alone.

    The flood never ends: as soon as one of its 64 requests is answered, the next one is asked. All
    prompts are random, so that no prefix is shared.
    """
    chance = random.Random(5)
    name = options.model or "llama-15m"
    n_asked = max(10, round(N_ASKED * options.scale))
    async with open_engine(model_folder(name), **options.wishes) as engine:

        def prompt() -> list[int]:
            return [chance.randrange(3, engine.model.vocab_size) for _ in range(N_PROMPT)]

        async def flood() -> None:
            for _ in itertools.count():
                await ask(engine, request(prompt(), N_FLOOD_OUTPUT, tenant_id="flooding"))

        async def quiet_ttft_s() -> list[float]:
            last_s = time.monotonic() + ASKING_MAX_S
            found: list[float] = []
            while len(found) < 2 or (len(found) < n_asked and time.monotonic() < last_s):
                asked = request(prompt(), N_OUTPUT, tenant_id="quiet")
                found.append((await ask(engine, asked)).ttft_s)
            return found

        await ask(engine, request(prompt(), N_OUTPUT))  # the warm-up
        alone_s = await quiet_ttft_s()
        floods = [asyncio.create_task(flood()) for _ in range(N_FLOOD)]
        while engine.load().queued_requests + engine.load().running_requests < N_FLOOD:
            await asyncio.sleep(0.01)
        beside_s = await quiet_ttft_s()
        for task in floods:
            task.cancel()
        await asyncio.gather(*floods, return_exceptions=True)
    note = (
        f"{name}: alone {_ms(alone_s, 99)} ms (p50 {_ms(alone_s, 50)}), beside the flood "
        f"{_ms(beside_s, 99)} ms (p50 {_ms(beside_s, 50)}); {len(alone_s)} and {len(beside_s)} "
        f"requests, prompts of {N_PROMPT}; the flood keeps {N_FLOOD} requests of "
        f"{N_FLOOD_OUTPUT} outputs going"
    )
    ratio = _percentile(beside_s, 99) / _percentile(alone_s, 99)
    return [Metric.share("fairness_ttft_p99/flood", ratio, note)]


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _ms(values: list[float], percent: int) -> str:
    return f"{1e3 * _percentile(values, percent):.1f}"
