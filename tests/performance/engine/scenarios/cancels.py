"""5,000 requests cancelled at random moments: is anything left of them?"""

import asyncio
import random
import re
from argparse import Namespace
from collections import Counter
from contextlib import aclosing, suppress
from pathlib import Path

from engine.metrics import Metric
from engine.paths import model_folder
from engine.weir import open_engine, request
from weir_inference.core.engine_loop import EngineLoop
from weir_inference.core.request import Ending, EndReason

N_CANCELS = 5000
N_BEFORE = 500  # after these, memory should be at its height
KV_MB = 16  # 2,400 tokens of llama-15m
N_AT_ONCE = 48  # some wait in the queue, some run
N_PROMPT_MAX = 100
CANCELLED_WITHIN_S = 0.5
SETTLED_WITHIN_S = 10.0


async def measure(options: Namespace) -> list[Metric]:
    """`cancels/kv_blocks_left` at the end, `cancels/rss_growth_mb` since the first 500.

    The KV cache is so small that the first 500 have touched all of it: pages touched for the first
    time are no leak. (At the default of 256 MB they came to 169 MB after the first 500.) The note
    tells how far the requests had come.
    """
    chance = random.Random(6)
    name = options.model or "llama-15m"
    n_cancels = max(N_BEFORE + 1, round(N_CANCELS * options.scale))
    wishes = {"kv_mb": KV_MB} | options.wishes
    left = iter(range(n_cancels))
    n_done = 0
    phases: Counter[str] = Counter()
    rss_mb: dict[int, float] = {}
    async with open_engine(model_folder(name), **wishes) as engine:

        async def client() -> None:
            nonlocal n_done
            for _ in left:
                n_prompt, after_s = (
                    chance.randint(1, N_PROMPT_MAX),
                    chance.uniform(0, CANCELLED_WITHIN_S),
                )
                prompt = [chance.randrange(3, engine.model.vocab_size) for _ in range(n_prompt)]
                phases[phase_of(await cancelled(engine, prompt, after_s))] += 1
                n_done += 1
                if n_done == N_BEFORE:
                    rss_mb[N_BEFORE] = resident_mb()

        await asyncio.gather(*(client() for _ in range(N_AT_ONCE)))
        blocks_left = await settled_blocks(engine)
        rss_mb[n_cancels] = resident_mb()
        n_preempted = engine.load().preemptions
    growth_mb = rss_mb[n_cancels] - rss_mb[N_BEFORE]
    note = (
        f"{name}: {n_cancels} cancels, {N_AT_ONCE} at once, within {CANCELLED_WITHIN_S} s: "
        f"{', '.join(f'{n} {phase}' for phase, n in sorted(phases.items()))}; "
        f"{n_preempted} preemptions"
    )
    return [
        Metric("cancels/kv_blocks_left", float(blocks_left), "blocks", note=note),
        Metric(
            "cancels/rss_growth_mb",
            growth_mb,
            "MB",
            note=f"{rss_mb[N_BEFORE]:.0f} MB after {N_BEFORE}, {rss_mb[n_cancels]:.0f} at the end",
        ),
    ]


async def cancelled(engine: EngineLoop, prompt: list[int], after_s: float) -> Ending:
    """One request, read as it comes, closed after `after_s`."""
    generation = engine.submit(request(prompt, engine.model.context_tokens - len(prompt)))

    async def read() -> None:
        async with aclosing(generation.events()) as events:
            async for _ in events:
                pass

    with suppress(TimeoutError):
        await asyncio.wait_for(read(), after_s)
    ending = generation.close()
    assert ending.reason is EndReason.CANCELLED, f"it ended by itself: {ending.reason}"
    return ending


def phase_of(ending: Ending) -> str:
    """What a request was doing when it was cancelled."""
    if ending.started_at_s is None:
        return "queued"
    return "in prefill" if ending.first_token_at_s is None else "decoding"


async def settled_blocks(engine: EngineLoop) -> int:
    """Blocks held once no request is left, or when waiting for that has been long enough."""
    last_s = asyncio.get_running_loop().time() + SETTLED_WITHIN_S
    while asyncio.get_running_loop().time() < last_s:
        load = engine.load()
        if load.queued_requests + load.running_requests + load.kv_blocks_held == 0:
            break
        await asyncio.sleep(0.05)
    return engine.load().kv_blocks_held


def resident_mb() -> float:
    """Memory of this process that is in RAM now."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1e3
