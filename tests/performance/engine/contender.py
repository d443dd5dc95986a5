"""One engine, kept open in its own environment: a line on stdin, a measured batch on stdout.

`engine_peer.py` opens the peers and times a batch; what it does not do is wait between batches, and
only engines that stay open can take turns within seconds of each other.
"""

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

REPLY = "BENCH "
SHOWN_TOKENS = 8


@contextlib.contextmanager
def opened(options: argparse.Namespace) -> Iterator[tuple[str, object]]:
    """A contender's version and its function that generates a batch."""
    if options.contender == "weir":
        from engine.weir import open_weir

        with open_weir(options) as engine:
            yield engine
        return
    import engine_peer

    yield engine_peer.ENGINES[options.contender](options)


def serve(options: argparse.Namespace, started_s: float) -> None:
    """Warm up and say so, then one batch for each line; the prompts are those of every contender.

    `engine_peer.measure` draws the warm-up's prompts first and then each run's, from seed 1.
    """
    import numpy as np
    from engine_peer import timed

    config = json.loads((options.model / "config.json").read_text(encoding="utf-8"))
    chance = np.random.default_rng(1)

    def draw() -> list[list[int]]:
        shape = (options.batch, options.prompt)
        return chance.integers(3, config["vocab_size"], shape).tolist()

    first_row: list[int] = []
    came_s: list[float] = []

    def note(pairs: list[tuple[int, int]]) -> None:
        came_s.append(time.time())
        first_row.extend(token for row, token in pairs if row == 0)

    with opened(options) as (version, generate):
        generate(draw(), options.output, note)
        startup_s = came_s[0] - started_s
        reply(version=version, startup_s=startup_s, tokens=first_row[:SHOWN_TOKENS])
        for _ in sys.stdin:
            reply(**timed(generate, draw(), options.output))


def reply(**fields: object) -> None:
    print(REPLY + json.dumps(fields), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("contender")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--output", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", default="bf16", help="of the peers")
    parser.add_argument("--setting", action="append", default=[], help="of Weir's engine: a=b")
    serve(parser.parse_args(), float(os.environ["WEIR_BENCH_STARTED_S"]))


if __name__ == "__main__":
    main()
