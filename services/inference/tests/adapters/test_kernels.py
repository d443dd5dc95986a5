"""The native kernels against plain torch: every weight format, any shape, any cut of the rows.

Every library that this CPU can run is tested, not only the one that it would choose.
"""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from weir_inference.adapters.engines.torch.native import library as kernels
from weir_inference.adapters.engines.torch.native.library import cpu_flags, lacking, library
from weir_inference.adapters.engines.torch.native.matrix import PANEL, NativeMatrix
from weir_inference.adapters.engines.torch.native.ops import NativeOps
from weir_inference.adapters.engines.torch.quantized import quantized
from weir_inference.adapters.engines.torch.weights import DenseMatrix

pytestmark = pytest.mark.skipif(lacking() is not None, reason=str(lacking()))

FORMATS = ["fp32", "bf16", "int8", "int4"]
SETS = [name for name, needs in kernels.NEEDS.items() if needs <= cpu_flags()]
some_sizes = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[
        HealthCheck.differing_executors,
        HealthCheck.function_scoped_fixture,  # the same library for all examples
    ],
)


@pytest.fixture(autouse=True, params=SETS)
def instruction_set(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The one library that may be chosen."""
    monkeypatch.setattr(kernels, "NEEDS", {request.param: kernels.NEEDS[request.param]})
    library.cache_clear()
    yield request.param
    library.cache_clear()


def held(kind: str, weight: Tensor) -> Tensor:
    """What of a weight a format keeps: [n_out, n_in] fp32."""
    if kind in ("int8", "int4"):
        return quantized(DenseMatrix(weight), kind).dense()
    return weight.bfloat16().float() if kind == "bf16" else weight


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def activations(kind: str, seed: int, *shape: int) -> Tensor:
    """What a kernel may round to bf16 before it multiplies is of bf16 already."""
    drawn = random(seed, *shape)
    return drawn if kind == "fp32" else drawn.bfloat16().float()


@pytest.mark.parametrize("kind", FORMATS)
@some_sizes
@given(
    rows=st.integers(1, 300),
    n_in=st.integers(1, 200).map(lambda half: 2 * half),
    heights=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    last=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_a_product_equals_torchs(
    kind: str, rows: int, n_in: int, heights: list[int], last: int, seed: int
) -> None:
    parts = [*(PANEL * height for height in heights), last]
    weights = [random(seed + i, height, n_in) for i, height in enumerate(parts)]
    matrix = NativeMatrix(kind, n_in, parts)
    bias = random(seed + 50, last)
    for i, weight in enumerate(weights):
        matrix.encode(i, weight, bias if i == len(parts) - 1 else None)
    kept = torch.cat([held(kind, weight) for weight in weights])
    assert torch.allclose(matrix.dense(), kept, rtol=1e-6, atol=1e-7)
    x, addend = activations(kind, seed + 60, rows, n_in), random(seed, rows, matrix.n_columns)
    wanted = x @ kept.T + addend[:, : len(kept)]
    wanted[:, -last:] += bias
    product = NativeOps().linear(x, matrix, addend.clone())
    assert torch.allclose(product, wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", FORMATS)
@some_sizes
@given(
    rows=st.integers(1, 40),
    n_in=st.integers(1, 60).map(lambda half: 2 * half),
    height=st.integers(1, 80),
    seed=st.integers(0, 99),
)
def test_a_gated_product_equals_torchs(
    kind: str, rows: int, n_in: int, height: int, seed: int
) -> None:
    gate, up = random(seed, height, n_in), random(seed + 1, height, n_in)
    x = activations(kind, 2, rows, n_in)
    matrix = NativeMatrix(kind, n_in, (height, height), gated=True)
    matrix.encode(0, gate)
    matrix.encode(1, up)
    wanted = torch.nn.functional.silu(x @ held(kind, gate).T) * (x @ held(kind, up).T)
    gated = NativeOps().gated(x, matrix)
    assert torch.allclose(gated[:, :height], wanted, rtol=1e-4, atol=1e-3)
    assert not gated[:, height:].any(), "columns that fill the last panel are zero"
    assert torch.allclose(matrix.dense(), torch.cat([held(kind, gate), held(kind, up)]), atol=1e-6)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_row_is_the_same_to_the_bit_whatever_runs_beside_it(kind: str) -> None:
    weight, x = random(1, 160, 600), random(2, 300, 600)
    matrix = NativeMatrix(kind, 600, (160,))
    matrix.encode(0, weight)
    ops = NativeOps()
    together = ops.linear(x, matrix).clone()
    for rows in (1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 32, 241):
        assert torch.equal(ops.linear(x[:rows].contiguous(), matrix), together[:rows])


@some_sizes
@given(rows=st.integers(1, 40), n=st.integers(1, 300), seed=st.integers(0, 99))
def test_a_norm_equals_its_formula(rows: int, n: int, seed: int) -> None:
    x, weight = random(seed, rows, n) * 30, random(seed + 1, n)
    wanted = x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * weight
    assert torch.allclose(NativeOps().norm(x, weight, 1e-5), wanted, rtol=1e-5, atol=1e-5)


@some_sizes
@given(
    rows=st.integers(1, 5),
    n=st.sampled_from([1, 15, 16, 17, 8191, 8192, 8193, 20000]),
    levels=st.sampled_from([1, 3, 10**6]),
    seed=st.integers(0, 99),
)
def test_the_likeliest_is_the_first_of_the_largest(
    rows: int, n: int, levels: int, seed: int
) -> None:
    logits = (random(seed, rows, n + 3) * levels).round() / levels  # with ties
    found = NativeOps().likeliest(logits[:, :n])
    assert found == [int(row.argmax()) for row in logits[:, :n].numpy()]


def test_the_likeliest_of_nothing_but_nan_is_still_a_token() -> None:
    assert NativeOps().likeliest(torch.full((2, 100), torch.nan)) == [0, 0]


PINNED = """
import os, pathlib, torch
torch.set_num_threads(2)
from weir_inference.adapters.engines.torch.native.library import library
free = os.sched_getaffinity(0)
assert library().weir_pin_threads()
tasks = [int(task.name) for task in pathlib.Path("/proc/self/task").iterdir()]
pinned = [cpus for cpus in map(os.sched_getaffinity, tasks) if len(cpus) == 1]
assert len(pinned) >= min(2, len(free)), pinned
assert os.sched_getaffinity(0) == {min(free)}
assert set().union(*pinned) == set(sorted(free)[:2])
"""


def test_pinned_threads_keep_to_a_cpu_each() -> None:
    subprocess.run([sys.executable, "-c", PINNED], check=True)


def test_the_rows_of_a_matrix_are_its_weights() -> None:
    weight = random(1, 70, 48)
    matrix = NativeMatrix("bf16", 48, (70,))
    matrix.encode(0, weight.bfloat16())
    ids = torch.tensor([69, 0, 16, 15, 69])
    assert torch.equal(NativeOps().embed(matrix, ids), weight.bfloat16().float()[ids])
