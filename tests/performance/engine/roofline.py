"""How fast memory can be read here, and the share of it that decoding one sequence reaches."""

import ctypes
import json
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from engine.metrics import Metric
from engine.paths import bench_home

N_BYTES = 1 << 30
N_REPEATS = 5
SOURCE = Path(__file__).with_name("stream_read.c")


@dataclass(frozen=True)
class Roofline:
    """Decoding at batch 1 reads every weight once a token: bandwidth over bytes is its ceiling.

    One bandwidth and one inter-token latency a round, measured next to each other.
    """

    bytes_a_token: int
    gb_s: list[float]
    itl_p50_ms: list[float]

    def metric(self, name: str) -> Metric:
        """Tokens a second over the ceiling: the median of the rounds' shares."""
        shares = [
            (1e3 / itl_ms) / (gb_s * 1e9 / self.bytes_a_token)
            for gb_s, itl_ms in zip(self.gb_s, self.itl_p50_ms, strict=True)
        ]
        gb_s = statistics.median(self.gb_s)
        return Metric.share(
            name,
            statistics.median(shares),
            f"{1e3 / statistics.median(self.itl_p50_ms):.1f} tok/s decoded (ITL p50) of "
            f"{gb_s * 1e9 / self.bytes_a_token:.1f} at {gb_s:.1f} GB/s read",
        )


def weight_bytes_a_token(model: Path) -> int:
    """Bytes of the weights that one step reads: all of them, with tied embeddings once.

    Without tied embeddings, of the input embeddings a step reads one row a token: left out.
    """
    with (model / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    untied = not config.get("tie_word_embeddings", False)
    return sum(
        tensor["data_offsets"][1] - tensor["data_offsets"][0]
        for name, tensor in header.items()
        if name != "__metadata__" and not (untied and "embed_tokens" in name)
    )


def read_gb_s(n_threads: int) -> float:
    """The best that any reader reaches in any repeat, streaming 1 GiB with `n_threads` threads."""
    floats = _gibibyte()
    best_s = min(
        _seconds(reader, np.array_split(floats, n_threads))
        for reader in readers()
        for _ in range(N_REPEATS)
    )
    return floats.nbytes / best_s / 1e9


def readers() -> list[Callable[[np.ndarray], object]]:
    """numpy's maximum, as in `membw.py`, and a sum compiled for this machine if gcc is here."""
    compiled = _compiled()
    if compiled is None:
        return [np.max]

    def sum_in_c(part: np.ndarray) -> int:
        return compiled(part.ctypes.data_as(ctypes.c_void_p), part.nbytes)

    return [np.max, sum_in_c]


@cache
def _gibibyte() -> np.ndarray:
    return np.ones(N_BYTES // 4, np.float32)


@cache
def _compiled() -> Callable[[ctypes.c_void_p, int], int] | None:
    """`stream_read` of stream_read.c. ctypes lets go of the GIL, so that threads run it at once."""
    library = bench_home() / "stream_read.so"
    flags = ["-O3", "-march=native", "-shared", "-fPIC"]
    try:
        subprocess.run(["gcc", *flags, str(SOURCE), "-o", str(library)], check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    function = ctypes.CDLL(str(library)).stream_read
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_size_t], ctypes.c_uint64
    return function


def _seconds(reader: Callable[[np.ndarray], object], parts: list[np.ndarray]) -> float:
    threads = [threading.Thread(target=reader, args=(part,)) for part in parts]
    start_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start_s
