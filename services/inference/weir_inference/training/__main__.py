"""`python -m weir_inference.training NAME --assets FOLDER --out FOLDER`: train one small model.

Seeded: a second run on the same kind of machine gives the same scores.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from weir_inference.training import digits, language, movies, sentiment

MODELS: dict[str, Callable[[Path, Path], None]] = {
    module.NAME: module.train for module in (sentiment, digits, language, movies)
}


def main() -> None:
    args = parse_args()
    # One thread: sums come in one order, so scores repeat, and other work keeps its cores.
    torch.set_num_threads(1)
    started_s = time.monotonic()
    MODELS[args.name](args.assets, args.out)
    print(f"{args.name}: {time.monotonic() - started_s:.0f} s, in {args.out}")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m weir_inference.training", description=__doc__)
    parser.add_argument("name", choices=sorted(MODELS))
    parser.add_argument("--assets", type=Path, required=True, help="folder of texts and test sets")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    return parser.parse_args()


if __name__ == "__main__":
    main()
