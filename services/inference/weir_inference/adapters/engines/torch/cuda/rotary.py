"""Rotary positions and the way of keys and values into the paged cache, in one Triton kernel."""

import triton
import triton.language as tl
from torch import Tensor

from weir_inference.adapters.engines.torch.cuda.step_inputs import StepInputs
from weir_inference.adapters.engines.torch.decoder import Rope
from weir_inference.adapters.engines.torch.kv_cache import KEYS, VALUES
from weir_inference.adapters.engines.torch.model_config import ModelConfig


def rotate_and_store(
    config: ModelConfig, rope: Rope, qkv: Tensor, pages: Tensor, step: StepInputs
) -> None:
    """Rotate the queries of `qkv` [tokens, (heads + 2 kv_heads) · head_dim] where they stand.

    Keys, rotated, and values go into `pages`, a layer's [2, blocks, block_size, kv_heads,
    head_dim]. Computed in fp32 and rounded once.
    """
    half = config.head_dim // 2
    rotate_head[(qkv.shape[0], config.n_heads + config.n_kv_heads)](
        qkv, rope.cos, rope.sin, pages[KEYS], pages[VALUES], step.positions, step.slots,
        n_heads=config.n_heads, n_kv_heads=config.n_kv_heads, half=half,
        half_padded=triton.next_power_of_2(half), num_warps=1,
    )  # fmt: skip


@triton.jit  # type: ignore[untyped-decorator]
def rotate_head(
    qkv: tl.tensor, cos: tl.tensor, sin: tl.tensor, keys: tl.tensor, values: tl.tensor,
    positions: tl.tensor, slots: tl.tensor, n_heads: tl.constexpr, n_kv_heads: tl.constexpr,
    half: tl.constexpr, half_padded: tl.constexpr,
) -> None:  # fmt: skip
    """One program: a token, and a query head or a KV head, in the checkpoints' half-split layout.

    A KV head's program does both its key and its value.
    """
    token, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    column = tl.arange(0, half_padded)
    inside = column < half
    angle = tl.load(positions + token).to(tl.int64) * half + column
    c = tl.load(cos + angle, mask=inside, other=0.0)
    s = tl.load(sin + angle, mask=inside, other=0.0)
    row = qkv + token * ((n_heads + 2 * n_kv_heads) * 2 * half)
    at = row + head * 2 * half + column
    left = tl.load(at, mask=inside, other=0.0).to(tl.float32)
    right = tl.load(at + half, mask=inside, other=0.0).to(tl.float32)
    dtype = qkv.dtype.element_ty
    new_left, new_right = (left * c - right * s).to(dtype), (right * c + left * s).to(dtype)
    if head < n_heads:
        tl.store(at, new_left, mask=inside)
        tl.store(at + half, new_right, mask=inside)
    else:
        slot = tl.load(slots + token).to(tl.int64) * n_kv_heads + head - n_heads
        to = slot * 2 * half + column
        tl.store(keys + to, new_left, mask=inside)
        tl.store(keys + to + half, new_right, mask=inside)
        value = at + n_kv_heads * 2 * half
        tl.store(values + to, tl.load(value, mask=inside), mask=inside)
        tl.store(values + to + half, tl.load(value + half, mask=inside), mask=inside)
