"""Weir and its peers in turns on one cell: rounds, and what they come to."""

import statistics
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.cells import Cell
from engine.metrics import Metric
from engine.paths import model_folder
from engine.roofline import Roofline, read_gb_s, weight_bytes_a_token
from engine.turns import Absent, Contender, Turn


@dataclass
class Round:
    """A turn of each contender that could run, one after another; read bandwidth at batch 1."""

    turns: dict[str, Turn]
    gb_s: float | None = None


class Comparison:
    """Runs cells. A peer that never ran is absent for good, and its reason is kept."""

    def __init__(self, options: Namespace) -> None:
        self.options = options
        self.absent: dict[str, str] = {}
        self.came: set[str] = set()

    def run(self, cell: Cell) -> list[Metric]:
        """Measure one cell; raises `Absent` where Weir itself cannot run."""
        model = model_folder(cell.model)
        warm_file_cache(model)
        contenders: dict[str, Contender] = {}
        reasons: dict[str, str] = {}
        try:
            for name in ("weir", *cell.peers):
                if name in self.absent:
                    reasons[name] = self.absent[name]
                    continue
                print(f"{cell.name} b{cell.batch}: starting {name} …", flush=True)
                try:
                    contenders[name] = Contender.start(name, cell, model, self.options)
                    self.came.add(name)
                except Absent as absent:
                    self._note(name, str(absent), reasons)
            rounds = [self._round(cell, model, contenders, reasons, i) for i in self._rounds()]
            return list(metrics_of(cell, model, contenders, rounds, reasons))
        finally:
            for contender in contenders.values():
                contender.leave()

    def _rounds(self) -> range:
        return range(self.options.rounds)

    def _note(self, name: str, reason: str, reasons: dict[str, str]) -> None:
        if name == "weir":
            raise Absent(reason)
        print(f"  {name} is absent: {reason}", flush=True)
        reasons[name] = reason
        if name not in self.came:
            self.absent[name] = reason

    def _round(
        self,
        cell: Cell,
        model: Path,
        contenders: dict[str, Contender],
        reasons: dict[str, str],
        number: int,
    ) -> Round:
        """A turn of each; every second round the other way about, so that a drift evens out."""
        order = list(contenders) if number % 2 == 0 else list(contenders)[::-1]
        turns = {}
        for name in order:
            if name in reasons:
                continue
            try:
                turns[name] = contenders[name].turn()
            except Absent as absent:
                self._note(name, str(absent), reasons)
        speeds = ", ".join(f"{name} {turn.tok_s:.1f}" for name, turn in turns.items())
        noise = max(turn.disturbed_cores for turn in turns.values())
        print(f"  round {number + 1}: {speeds} tok/s; others on {noise:.1f} cores", flush=True)
        return Round(turns, read_gb_s(self.options.threads) if cell.batch == 1 else None)


def metrics_of(
    cell: Cell,
    model: Path,
    contenders: dict[str, Contender],
    rounds: list[Round],
    reasons: dict[str, str],
) -> Iterator[Metric]:
    """Every number of a cell, Weir's beside each peer's; beside nothing for a peer that is absent.

    Speeds and waits: medians of the rounds, and the median of the rounds' ratios.
    """
    weir = contenders["weir"]
    noise = max(turn.disturbed_cores for one in rounds for turn in one.turns.values())
    for peer in cell.peers:
        at = f"{cell.name}/b{cell.batch}/{peer}"
        other = None if peer in reasons else contenders[peer]
        if other is None:
            note = f"{peer} is absent: {reasons[peer]}"
        else:
            agreed = sum(a == b for a, b in zip(weir.tokens, other.tokens, strict=True))
            note = (
                f"{peer} {other.version} {cell.peer_weights}, {len(rounds)} rounds; "
                f"{agreed} of the first {len(weir.tokens)} tokens are the same; "
                f"others used up to {noise:.1f} cores"
            )
        for kind, (unit, number_of) in OF_A_TURN.items():
            values = [number_of(one.turns["weir"]) for one in rounds]
            others = [number_of(one.turns[peer]) for one in rounds] if other else []
            yield _beside(f"{kind}/{at}", unit, values, others, note)
        for kind, (unit, number_of) in OF_A_PROCESS.items():
            others = [number_of(other)] if other else []
            yield _beside(f"{kind}/{at}", unit, [number_of(weir)], others, note)
    bandwidths = [one.gb_s for one in rounds if one.gb_s is not None]
    if bandwidths and not cell.settings:
        itl_ms = [one.turns["weir"].itl_p50_ms for one in rounds]
        name = f"roofline/{cell.name}/b{cell.batch}"
        yield Roofline(weight_bytes_a_token(model), bandwidths, itl_ms).metric(name)


def start_metrics(metrics: list[Metric]) -> Iterator[Metric]:
    """`start_s/MODEL/PEER`: the medians over a model's batch sizes."""
    cells: dict[str, list[Metric]] = {}
    for one in metrics:
        kind, *path = one.metric.split("/")
        if kind == "start_s":
            cells.setdefault(f"start_s/{path[0]}/{path[2]}", []).append(one)
    for name, found in cells.items():
        others = [one.peer_value for one in found if one.peer_value is not None]
        values = [one.value for one in found]
        note = f"median of {len(found)} starts, to the first token, files cached"
        yield _beside(name, "s", values, others if len(others) == len(values) else [], note)


def warm_file_cache(model: Path) -> None:
    """Read the model's files once, so that no contender's start-up pays for the disk."""
    for file in model.iterdir():
        with file.open("rb") as opened:
            while opened.read(1 << 24):
                pass


def _beside(name: str, unit: str, values: list[float], others: list[float], note: str) -> Metric:
    value = statistics.median(values)
    if not others:
        return Metric(name, value, unit, note=note)
    ratio = statistics.median(a / b for a, b in zip(values, others, strict=True))
    return Metric(name, value, unit, statistics.median(others), ratio, note)


OF_A_TURN: dict[str, tuple[str, Callable[[Turn], float]]] = {
    "tok_s": ("tok/s", lambda turn: turn.tok_s),
    "ttft_p50_ms": ("ms", lambda turn: turn.ttft_p50_ms),
    "itl_p50_ms": ("ms", lambda turn: turn.itl_p50_ms),
    "itl_p99_ms": ("ms", lambda turn: turn.itl_p99_ms),
}
OF_A_PROCESS: dict[str, tuple[str, Callable[[Contender], float]]] = {
    "rss_mb": ("MB", lambda contender: contender.peak_rss_mb),
    "start_s": ("s", lambda contender: contender.startup_s),
}
