"""How to run an ONNX model."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from weir_kit.errors import InvalidArgument

PROVIDERS = ("auto", "cpu", "cuda", "tensorrt")


@dataclass(frozen=True)
class OnnxSettings:
    """Raises `InvalidArgument`, naming the field, for values that cannot be.

    `provider`: auto, cpu, cuda or tensorrt; `device_id` is the GPU's. `instances` batches are
    computed at once, over the same weights, by `threads` that they share: 0 is one for each, and
    all CPUs for a call that is alone. `spin`: threads wait for each other busily, which is faster
    only where the CPUs are this model's alone.

    `max_rows` is of a batch, 1 for no batching; `max_delay_ms` and `max_queued_rows` are as in
    `BatchLimits`. Calls are joined if that changes outputs by at most `join_tolerance`, a part of
    the largest value: half precision needs more than the default.

    `padding` names inputs of text, and the value that lengthens each along its second dimension to
    the next of `length_buckets`: so few shapes come up that buffers are reused and calls join.
    Longer inputs than the last bucket are refused.
    """

    provider: str = "auto"
    device_id: int = 0
    threads: int = 0
    instances: int = 2
    spin: bool = False
    optimize: bool = True
    max_rows: int = 32
    max_delay_ms: float = 0.0
    max_queued_rows: int = 1024
    join_tolerance: float = 1e-5
    length_buckets: tuple[int, ...] = ()
    padding: Mapping[str, int | float | bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(self.provider in PROVIDERS, "provider", f"one of {', '.join(PROVIDERS)}")
        _require(self.device_id >= 0, "device_id", "at least 0")
        _require(self.threads >= 0, "threads", "at least 0")
        _require(self.instances >= 1, "instances", "at least 1")
        _require(self.max_rows >= 1, "max_rows", "at least 1")
        _require(0 <= self.max_delay_ms <= 10_000, "max_delay_ms", "between 0 and 10000")
        _require(self.max_queued_rows >= self.max_rows, "max_queued_rows", "at least max_rows")
        _require(self.join_tolerance >= 0, "join_tolerance", "at least 0")
        buckets = self.length_buckets
        rising = all(a < b for a, b in zip((0, *buckets), buckets, strict=False))
        _require(rising, "length_buckets", "positive and rising")
        _require(bool(buckets) == bool(self.padding), "padding", "given with length_buckets")


def _require(right: bool, field: str, what: str) -> None:
    if not right:
        raise InvalidArgument(f"{field} must be {what}", field=field)
