"""A real arrival trace, slowed to this machine: how many requests are answered well enough?

The trace is Azure's conversation trace of 2023 (Patel et al., ISCA 2024): times, prompt lengths and
output lengths of real requests. Its arrivals keep their bursts: all gaps are stretched alike.
"""

import asyncio
import csv
import random
import statistics
import time
from argparse import Namespace
from dataclasses import dataclass
from datetime import datetime

from engine.metrics import Metric
from engine.paths import ASSETS, model_folder
from engine.weir import Answer, ask, open_engine, request
from weir_inference.core.engine_loop import EngineLoop
from weir_kit.errors import WeirError

TRACE = ASSETS / "traces" / "AzureLLMInferenceTrace_conv.csv"
N_REQUESTS = 120
REPLAY_MAX_S = 60.0  # a replay takes fewer requests where so many would take longer
N_AT_ONCE = 32
LOADS = (0.5, 0.8)  # of what the engine answers a second when it never waits for a request
PROMPT_MAX, OUTPUT_MAX = 1024, 256
TTFT_MAX_S = 1.0
ITL_P99_MAX_S = 0.2


@dataclass(frozen=True)
class Arrival:
    """One request of the trace."""

    at_s: float
    n_prompt: int
    n_output: int


async def measure(options: Namespace) -> list[Metric]:
    """`goodput/azure-conv/MODEL/LOAD`: the share within the objective, and requests a second."""
    name = options.model or "llama-15m"
    arrivals = read_trace(max(20, round(N_REQUESTS * options.scale)))
    metrics: list[Metric] = []
    async with open_engine(model_folder(name), **options.wishes) as engine:
        chance = random.Random(7)

        def prompt(one: Arrival) -> list[int]:
            """Tokens drawn anew, so that no replay finds an earlier one's prompts in the cache."""
            return [chance.randrange(3, engine.model.vocab_size) for _ in range(one.n_prompt)]

        await ask(engine, request(prompt(arrivals[0]), 8))  # the warm-up
        burst = [(one, prompt(one)) for one in arrivals[: 2 * N_AT_ONCE]]
        capacity_s = await burst_rate(engine, burst)
        for load in LOADS:
            rate_s = load * capacity_s
            n_replayed = max(20, round(rate_s * REPLAY_MAX_S))
            replayed = [(one, prompt(one)) for one in arrivals[:n_replayed]]
            stretch = len(replayed) / replayed[-1][0].at_s / rate_s
            start_s = time.perf_counter()
            answers = await asyncio.gather(
                *(
                    arrive(engine, one, tokens, start_s + stretch * one.at_s)
                    for one, tokens in replayed
                )
            )
            wall_s = time.perf_counter() - start_s
            metrics += goodput(f"{name}/load-{load:g}", answers, wall_s, rate_s, stretch)
    return metrics


def goodput(
    name: str, answers: list[Answer | None], wall_s: float, rate_s: float, stretch: float
) -> list[Metric]:
    """What came of one replay."""
    good = sum(answer is not None and within_objective(answer) for answer in answers)
    given = [answer for answer in answers if answer is not None]
    ttft_ms = sorted(1e3 * answer.ttft_s for answer in given)
    itl_ms = sorted(1e3 * p99(answer.itl_s) for answer in given)
    note = (
        f"TTFT ≤ {TTFT_MAX_S:g} s and each request's ITL p99 ≤ {1e3 * ITL_P99_MAX_S:.0f} ms; "
        f"the first {len(answers)} of the trace, prompts cut to {PROMPT_MAX} and outputs to "
        f"{OUTPUT_MAX} tokens, at {rate_s:.2f} requests/s (time × {stretch:.2f}); TTFT p50 "
        f"{statistics.median(ttft_ms):.0f} p99 {p99(ttft_ms):.0f} ms, ITL p99 p50 "
        f"{statistics.median(itl_ms):.0f} ms; {len(answers) - len(given)} refused"
    )
    return [
        Metric.share(f"goodput/azure-conv/{name}/share", good / len(answers), note),
        Metric(f"goodput/azure-conv/{name}/req_s", good / wall_s, "requests/s"),
    ]


def within_objective(answer: Answer) -> bool:
    """Whether it came in time."""
    return answer.ttft_s <= TTFT_MAX_S and p99(answer.itl_s) <= ITL_P99_MAX_S


async def arrive(engine: EngineLoop, one: Arrival, prompt: list[int], at_s: float) -> Answer | None:
    """Ask at its time; None if the engine refused."""
    await asyncio.sleep(max(0.0, at_s - time.perf_counter()))
    try:
        return await ask(engine, request(prompt, one.n_output))
    except WeirError:
        return None


async def burst_rate(engine: EngineLoop, burst: list[tuple[Arrival, list[int]]]) -> float:
    """Requests a second with 32 always under way."""
    todo = iter(burst)

    async def client() -> None:
        for one, prompt in todo:
            await ask(engine, request(prompt, one.n_output))

    start_s = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(N_AT_ONCE)))
    return len(burst) / (time.perf_counter() - start_s)


def read_trace(n_requests: int) -> list[Arrival]:
    """The trace's first requests, in seconds since the first."""
    with TRACE.open(encoding="utf-8", newline="") as file:
        rows = [row for row, _ in zip(csv.DictReader(file), range(n_requests), strict=False)]
    # Seven digits of a second are one more than datetime reads.
    times = [datetime.fromisoformat(row["TIMESTAMP"][:26]) for row in rows]
    return [
        Arrival(
            (at - times[0]).total_seconds(),
            min(int(row["ContextTokens"]), PROMPT_MAX),
            max(2, min(int(row["GeneratedTokens"]), OUTPUT_MAX)),
        )
        for row, at in zip(rows, times, strict=True)
    ]


def p99(values: list[float]) -> float:
    """The 99th percentile; of two values and more."""
    if len(values) < 2:
        return values[0] if values else 0.0
    return statistics.quantiles(values, n=100, method="inclusive")[98]
