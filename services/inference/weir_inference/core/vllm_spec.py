"""How vLLM runs a model: the key `vllm` of a `model.yaml`, an allow-list of vLLM's arguments.

What is not on it is not passed on: many of vLLM's arguments load code or read files.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from weir_inference.core.spec_fields import Fields

VLLM_KEYS: Final = (
    "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size",
    "distributed_executor_backend", "dtype", "max_model_len", "max_num_seqs",
    "max_num_batched_tokens", "gpu_memory_utilization", "kv_cache_memory_mb", "enforce_eager",
    "enable_prefix_caching", "scheduling_policy", "enable_lora", "max_loras", "max_lora_rank",
)  # fmt: skip


class Executor(StrEnum):
    """What starts vLLM's workers: this process itself, processes here, or Ray on many machines."""

    UNI = "uni"
    MP = "mp"
    RAY = "ray"


class VllmDtype(StrEnum):
    """The type of weights and activations."""

    AUTO = "auto"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


class Policy(StrEnum):
    """In which order requests are served."""

    FCFS = "fcfs"
    PRIORITY = "priority"


@dataclass(frozen=True)
class VllmSpec:
    """Arguments by vLLM's own names, but for `kv_cache_memory_mb`; None leaves vLLM's choice."""

    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    data_parallel_size: int = 1
    distributed_executor_backend: Executor | None = None
    dtype: VllmDtype = VllmDtype.AUTO
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    gpu_memory_utilization: float | None = None
    kv_cache_memory_mb: int | None = None
    enforce_eager: bool = False
    enable_prefix_caching: bool = True
    scheduling_policy: Policy = Policy.FCFS
    enable_lora: bool = False
    max_loras: int = 1
    max_lora_rank: int = 16


def vllm_of(fields: Fields) -> VllmSpec:
    """What `vllm` says, which may be absent. Raises `InvalidArgument` naming the key."""
    inner = fields.inner("vllm", VLLM_KEYS)
    return VllmSpec(
        tensor_parallel_size=inner.integer("tensor_parallel_size", 1, 1024, 1),
        pipeline_parallel_size=inner.integer("pipeline_parallel_size", 1, 1024, 1),
        data_parallel_size=inner.integer("data_parallel_size", 1, 1024, 1),
        distributed_executor_backend=inner.word("distributed_executor_backend", Executor, None),
        dtype=inner.word("dtype", VllmDtype, VllmDtype.AUTO),
        max_model_len=inner.integer("max_model_len", 1, 1 << 24, None),
        max_num_seqs=inner.integer("max_num_seqs", 1, 1 << 16, None),
        max_num_batched_tokens=inner.integer("max_num_batched_tokens", 1, 1 << 24, None),
        gpu_memory_utilization=inner.number("gpu_memory_utilization", 0.01, 1.0, None),
        kv_cache_memory_mb=inner.integer("kv_cache_memory_mb", 1, 1 << 24, None),
        enforce_eager=inner.flag("enforce_eager", False),
        enable_prefix_caching=inner.flag("enable_prefix_caching", True),
        scheduling_policy=inner.word("scheduling_policy", Policy, Policy.FCFS),
        enable_lora=inner.flag("enable_lora", False),
        max_loras=inner.integer("max_loras", 1, 256, 1),
        max_lora_rank=inner.integer("max_lora_rank", 1, 512, 16),
    )
