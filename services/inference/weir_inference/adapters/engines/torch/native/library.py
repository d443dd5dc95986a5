"""The compiled kernels: which library suits this CPU, and its functions for ctypes."""

import ctypes
from ctypes import c_float, c_int, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path

import torch

FOLDER = Path(__file__).parent
# Instruction sets, the best first, and the CPU flags that each needs.
NEEDS = {
    "avx512bf16": {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_bf16", "fma"},
    "avx512": {"avx512f", "avx512bw", "avx512vl", "avx512dq", "fma"},
    "avx2": {"avx2", "fma"},
}


class MatrixView(ctypes.Structure):
    """`Matrix` of linear.h."""

    _fields_ = (
        ("format", c_int32),
        ("gated", c_int32),
        ("n_out", c_int32),
        ("n_in", c_int32),
        ("panels", c_void_p),
        ("scales", c_void_p),
        ("bias", c_void_p),
    )


class AttentionShape(ctypes.Structure):
    """`Attention` of attention.h."""

    _fields_ = (
        ("format", c_int32),
        ("n_heads", c_int32),
        ("n_kv_heads", c_int32),
        ("head_dim", c_int32),
        ("window", c_int32),
        ("scale", c_float),
    )


class LayerView(ctypes.Structure):
    """`Layer` of kernels.cpp."""

    _fields_ = (
        ("attention_norm", c_void_p),
        ("q_norm", c_void_p),
        ("k_norm", c_void_p),
        ("mlp_norm", c_void_p),
        ("qkv", c_void_p),
        ("o", c_void_p),
        ("gate_up", c_void_p),
        ("down", c_void_p),
        ("cache", c_void_p),
    )


class DecoderView(ctypes.Structure):
    """`Decoder` of kernels.cpp."""

    _fields_ = (
        ("layers", c_void_p),
        ("n_layers", c_int32),
        ("hidden", c_int32),
        ("embedding", c_void_p),
        ("attention", c_void_p),
        ("norm", c_void_p),
        ("cosines", c_void_p),
        ("sines", c_void_p),
        ("eps", c_float),
    )


class StepView(ctypes.Structure):
    """`Step` of kernels.cpp."""

    _fields_ = (
        ("ids", c_void_p),
        ("positions", c_void_p),
        ("slots", c_void_p),
        ("spans", c_void_p),
        ("tables", c_void_p),
        ("rows", c_int32),
        ("n_spans", c_int32),
        ("x", c_void_p),
        ("normed", c_void_p),
        ("qkv", c_void_p),
        ("mixed", c_void_p),
        ("gated", c_void_p),
    )


SIGNATURES = {
    "weir_threads": (c_int, [c_int]),
    "weir_pin_threads": (c_int, []),
    "weir_panels_bytes": (c_int64, [c_int, c_int, c_int]),
    "weir_encode": (
        None,
        [c_int, c_void_p, c_int, c_int, c_int, c_int, c_int, c_void_p, c_void_p],
    ),
    "weir_rows": (None, [c_void_p, c_void_p, c_int, c_void_p]),
    "weir_linear": (
        None,
        [c_void_p, c_void_p, c_int64, c_int, c_void_p, c_int64, c_void_p, c_int64],
    ),
    "weir_rms_norm": (None, [c_void_p, c_void_p, c_float, c_int, c_int, c_void_p]),
    "weir_store_kv": (
        None,
        [c_void_p, c_void_p, c_int, *[c_void_p] * 6, c_float, c_void_p],
    ),
    "weir_attend": (
        None,
        [c_void_p, c_void_p, c_void_p, c_int, c_void_p, c_void_p, c_void_p],
    ),
    "weir_decode": (None, [c_void_p, c_void_p]),
    "weir_argmax": (None, [c_void_p, c_int64, c_int, c_int, c_void_p]),
}


def lacking() -> str | None:
    """Why the kernels cannot run here; None if they can."""
    name = instruction_set()
    if name is None:
        return "there are kernels for x86-64 CPUs with AVX2 or AVX-512 only"
    file = FOLDER / f"kernels-{name}.so"
    if not file.exists():
        return f"{file.name} was not compiled when the package was installed: is g++ there?"
    return None


@cache
def library() -> ctypes.CDLL:
    """The kernels for this CPU, computing with as many threads as torch does now."""
    assert lacking() is None
    file = FOLDER / f"kernels-{instruction_set()}.so"
    opened = ctypes.CDLL(str(file))
    for function, (result, arguments) in SIGNATURES.items():
        bound = getattr(opened, function)
        bound.restype, bound.argtypes = result, arguments
    opened.weir_threads(torch.get_num_threads())
    return opened


def instruction_set() -> str | None:
    """The best that this CPU and system can run."""
    flags = cpu_flags()
    return next((name for name, needs in NEEDS.items() if needs <= flags), None)


def cpu_flags() -> set[str]:
    """What the CPU can do, in Linux's names; nothing where that cannot be told."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    return next(
        (set(line.split()) for line in text.splitlines() if line.startswith("flags")), set()
    )
