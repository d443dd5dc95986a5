"""What a model shows of itself in its first runs: whether calls may be joined, and how many pay."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from weir_inference.adapters.engines.onnx.onnx_model import OnnxModel
from weir_inference.adapters.engines.onnx.onnx_settings import OnnxSettings
from weir_inference.adapters.engines.onnx.rows import joined, shared_out
from weir_inference.core.tensors import ANY, Datatype, Tensor, Tensors
from weir_kit.clock import Clock

log = logging.getLogger(__name__)

# Tried for dimensions of any size, the larger one where no other runs: convolutions refuse
# images of a pixel.
SIZES = (1, 8, 64)
LARGER_SIZES = (512,)
PROBES = 3  # of random rows
RUNS = 5  # of which the fastest counts: what else the machine does only slows runs down
LONG_S = 0.05  # longer runs are not repeated: they vary less, and loading must come to an end
HAND_OVER_S = 0.0002  # what a batch costs beside the run
SOONER = 1.2  # by so much: the model is held twice for it
WORTH = 1.03  # by so much a larger batch must be faster: a smaller one is over sooner


@dataclass(frozen=True)
class Trial:
    """`joins`: rows of several calls may be computed at once; `batch_rows`: so many pay.

    `row_s` is what a row takes, infinite where that depends on sizes that nobody knows before.
    """

    joins: bool
    batch_rows: int
    row_s: float = math.inf


def try_out(model: OnnxModel, settings: OnnxSettings, clock: Clock) -> Trial:
    """Warm a model up, with ones (and empty strings), and see.

    Calls are joined only where the first dimension of each input and output can be of any size,
    and a row is computed to the same alone and beside another. So what a caller gets never depends
    on who else calls. Some models pass the first test and not the second: they compare rows, or
    have sums that cancel out and are taken in another order (magika's scores change by 2 %).
    """
    lengths = settings.length_buckets
    tried = [lengths[len(lengths) // 2 :][:1]] if lengths else [SIZES, LARGER_SIZES]
    sizes = next(filter(None, (_sizes_that_run(model, some) for some in tried)), [])
    if not sizes:
        log.warning("the model refuses ones of all sizes tried: it is not warm")
        return Trial(False, 1)
    row_s = _run_s(model, 1, sizes[0], clock) if model.sizes_known else math.inf
    specs = (*model.inputs, *model.outputs)
    any_rows = all(spec.shape[:1] == (ANY,) for spec in specs)
    if settings.max_rows == 1 or not model.inputs or not any_rows:
        return Trial(False, 1, row_s)
    probed = sizes[:1] if model.sizes_known else sizes
    change = max(_change_by_joining(model, size, seed) for size in probed for seed in range(PROBES))
    if change > settings.join_tolerance:
        log.info(
            "calls are not joined: that changes outputs by %.1g, more than join_tolerance", change
        )
        return Trial(False, 1, row_s)
    if not model.sizes_known:
        return Trial(True, settings.max_rows)  # of each size another number pays
    return Trial(True, _rows_that_pay(model, sizes[0], settings.max_rows, clock), row_s)


def sooner_and_the_same(
    one: OnnxModel, other: OnnxModel, settings: OnnxSettings, clock: Clock
) -> bool:
    """Whether a model computes a row sooner than another does, to the same."""
    size = (settings.length_buckets or LARGER_SIZES)[0]
    try:
        call = _filled(one, 1, size, np.ones)
        outputs, others = _run(one, call), _run(other, call)
        changes = [_change(outputs[spec.name], others[spec.name]) for spec in one.outputs]
    except Exception:
        return False
    if max(changes) > settings.join_tolerance:
        return False
    return SOONER * _run_s(one, 1, size, clock) < _run_s(other, 1, size, clock)


def _sizes_that_run(model: OnnxModel, sizes: Sequence[int]) -> list[int]:
    running: list[int] = []
    for size in sizes:
        try:
            _run(model, _filled(model, 1, size, np.ones))
        except Exception:
            log.debug("the model refuses ones of size %d", size)
        else:
            running.append(size)
        if model.sizes_known:
            break  # but for the rows, all sizes are the same
    return running


def _change_by_joining(model: OnnxModel, size: int, seed: int) -> float:
    """The most that an output changes by it, as a part of its largest value; infinite where rows
    cannot be told apart.
    """
    numbers = np.random.default_rng(seed)
    calls = [_filled(model, 1, size, lambda shape: numbers.integers(0, 2, shape)) for _ in range(2)]
    try:
        alone = [_run(model, call) for call in calls]
        together = shared_out(_run(model, joined(calls)), (1, 1))
    except Exception:  # alone such a size ran: only joining can be at fault
        return math.inf
    return max(
        _change(one[spec.name], other[spec.name])
        for one, other in zip(alone, together, strict=True)
        for spec in model.outputs
    )


def _change(one: Tensor, other: Tensor) -> float:
    if one.shape != other.shape:
        return math.inf
    if one.dtype == Datatype.BYTES.dtype:
        return 0.0 if np.array_equal(one, other) else math.inf
    wide, other_wide = one.astype(np.float64), other.astype(np.float64)
    differs = ~((wide == other_wide) | (np.isnan(wide) & np.isnan(other_wide)))
    if not differs.any():
        return 0.0
    largest = float(np.max(np.abs(wide), where=np.isfinite(wide), initial=0.0))
    change = float(np.max(np.abs(wide - other_wide)[differs]))
    return change / largest if largest and math.isfinite(change) else math.inf


def _rows_that_pay(model: OnnxModel, size: int, rows_max: int, clock: Clock) -> int:
    """The rows of a batch by which most rows are computed in a second, as far as was tried."""
    best_rows, best_rate, rows = 1, 0.0, 1
    while rows <= rows_max:
        run_s = _run_s(model, rows, size, clock)
        rate = rows / (run_s + HAND_OVER_S)
        if rate > WORTH * best_rate:
            best_rows, best_rate = rows, rate
        if run_s > 10 * LONG_S or WORTH * rate < best_rate:
            break
        rows *= 2
    return best_rows


def _run_s(model: OnnxModel, rows: int, size: int, clock: Clock) -> float:
    """The fastest of some runs."""
    inputs = _filled(model, rows, size, np.ones)
    fastest_s = math.inf
    for _ in range(RUNS):
        began_s = clock.monotonic_s()
        _run(model, inputs)
        fastest_s = min(fastest_s, clock.monotonic_s() - began_s)
        if fastest_s > LONG_S:
            break
    return fastest_s


def _run(model: OnnxModel, inputs: Tensors) -> dict[str, Tensor]:
    return model.run(inputs, [spec.name for spec in model.outputs])


def _filled(
    model: OnnxModel, rows: int, size: int, content: Callable[[tuple[int, ...]], Tensor]
) -> Tensors:
    """Inputs of some content; dimensions of any size are `size`, those of a row for each `rows`."""
    of_rows = {model.symbols[spec.name][0] for spec in model.inputs if spec.shape} - {""}
    inputs: dict[str, Tensor] = {}
    for spec in model.inputs:
        shape: list[int] = []
        for axis, (wanted, symbol) in enumerate(
            zip(spec.shape, model.symbols[spec.name], strict=True)
        ):
            any_size = rows if axis == 0 or symbol in of_rows else size
            shape.append(any_size if wanted == ANY else wanted)
        filled = content(tuple(shape))
        if spec.datatype is Datatype.BYTES:
            inputs[spec.name] = np.where(filled == 1, b"", b"a").astype(object)
        else:
            inputs[spec.name] = filled.astype(spec.datatype.dtype)
    return inputs
