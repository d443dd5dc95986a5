"""`make bench-engine`: measure Weir's torch engine beside its peers, and what it promises alone."""

import argparse
import signal
import sys
from pathlib import Path

from engine import scenarios, tables
from engine.cells import BATCHES, COLUMNS, PEERS, cells_of
from engine.comparison import Comparison, start_metrics
from engine.metrics import Metric, Sitting, save
from engine.paths import PERFORMANCE
from engine.turns import Absent, use_bench_tools

PARTS = ("peers", *scenarios.NAMES)


def main() -> None:
    """Each part is saved as soon as it is measured: one that fails loses nothing of the others."""
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # contenders are ended on the way out
    use_bench_tools()
    sitting = Sitting.now("engine")
    failed = []
    measured: list[Metric] = []

    def keep(metrics: list[Metric]) -> None:
        measured.extend(metrics)
        tables.write(save(metrics, sitting, options.results), options.report)

    if "peers" in options.only:
        comparison = Comparison(options)
        for cell in cells_of(options.models, options.peers, options.batches):
            try:
                keep(comparison.run(cell))
            except Absent as absent:
                failed.append(f"{cell.name} b{cell.batch}: weir: {absent}")
        keep(list(start_metrics(measured)))
    for name in scenarios.NAMES:
        if name in options.only:
            print(f"{name} …", flush=True)
            try:
                keep(scenarios.run(name, options))
            except scenarios.ScenarioFailed as failure:
                failed.append(f"{name}: {failure}")
    print(tables.rendered([tables.entry(one) for one in measured]))
    if failed:
        sys.exit("not measured:\n" + "\n".join(failed))


def parse() -> argparse.Namespace:
    def names(allowed: tuple[str, ...]):
        def read(text: str) -> list[str]:
            found = [part.strip() for part in text.split(",") if part.strip()]
            wrong = [one for one in found if one not in allowed]
            if wrong:
                raise argparse.ArgumentTypeError(f"{', '.join(wrong)}: not of {', '.join(allowed)}")
            return found

        return read

    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(prog="engine", description=__doc__)
    models = tuple(COLUMNS)
    parser.add_argument("--models", type=names(models), help=",".join(models))
    parser.add_argument("--peers", type=names(PEERS), help=",".join(PEERS))
    parser.add_argument("--batches", type=numbers, help="1,8,32")
    parser.add_argument("--rounds", type=int, default=3, help="of Weir and each peer, a cell")
    parser.add_argument("--only", type=names(PARTS), help=",".join(PARTS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--setting", action="append", default=[], help="of Weir's engine: step_tokens=2048"
    )
    parser.add_argument("--scenario-model", help="instead of the one that each scenario chooses")
    parser.add_argument("--scale", type=float, default=1.0, help="how many requests, of usual")
    parser.add_argument("--results", type=Path, default=PERFORMANCE / "results" / "engine.json")
    parser.add_argument("--report", type=Path, default=PERFORMANCE / "RESULTS.md")
    options = parser.parse_args()
    picked = options.models or options.peers or options.batches
    options.only = options.only or (["peers"] if picked else list(PARTS))
    options.models = options.models or list(models)
    options.peers = options.peers or list(PEERS)
    options.batches = options.batches or list(BATCHES)
    return options


if __name__ == "__main__":
    main()
