"""Attention of ragged tokens over the paged KV cache, by Triton.

A tile is some rows of one sequence; a program takes a tile and a KV head, with all query heads that
share it as rows of its products, and looks at the sequence's pages one after the other with a
running softmax in fp32 (Milakov & Gimelshein 2018; Dao et al. 2022). Nothing is padded to another
sequence's length. Where tiles are few and contexts long, as in decoding, several programs share a
tile's keys, and a second kernel joins what they found (Dao et al. 2023, Flash-Decoding).
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from weir_inference.adapters.engines.torch.cuda.step_inputs import StepInputs
from weir_inference.adapters.engines.torch.kv_cache import BLOCK_SIZE, KEYS, VALUES
from weir_inference.adapters.engines.torch.model_config import ModelConfig

DOT_ROWS_MIN = 16  # of a product on tensor cores
# Query heads × tokens of a tile of a chunk. fp32 has no tensor cores here: more spill registers.
CHUNK_ROWS = {torch.bfloat16: 64, torch.float32: 16}
KEYS_BYTES = 128  # of one column of the keys at once: 64 of bf16
SPLITS_MAX = 32
LN_2 = math.log(2)  # weights are computed as powers of 2, as the hardware does


class RaggedAttention:
    """The kernels for one model's heads.

    `n_programs` is how many the device runs at once: decodes are split until there are as many.
    """

    def __init__(self, config: ModelConfig, dtype: torch.dtype, n_programs: int) -> None:
        self._n_programs = n_programs
        self._n_kv_heads = config.n_kv_heads
        self._width = config.width_q
        self._group = config.n_heads // config.n_kv_heads
        self._decode_rows = max(DOT_ROWS_MIN, triton.next_power_of_2(self._group))
        self._chunk_rows: int = max(CHUNK_ROWS[dtype], self._decode_rows)
        self._head_dim = config.head_dim
        self._head_dim_padded = max(DOT_ROWS_MIN, triton.next_power_of_2(config.head_dim))
        self._window = config.sliding_window or 0

    @property
    def tokens_of_a_tile(self) -> int:
        """Of a chunk, at most."""
        return self._chunk_rows // self._group

    def __call__(self, q: Tensor, pages: Tensor, step: StepInputs) -> Tensor:
        """[tokens, heads · head_dim], of queries that begin the rows of `q` [tokens, any width].

        `pages`: a layer's, [2, blocks, block_size, kv_heads, head_dim], the step's own keys and
        values among them.
        """
        out = torch.empty(q.shape[0], self._width, dtype=q.dtype, device=q.device)
        if len(step.chunks):
            self._attend(q, pages, step.tables, step.chunks, self._chunk_rows, out, out, 1)
        if len(step.decodes):
            self._attend_split(q, pages, step, out)
        return out

    def _attend_split(self, q: Tensor, pages: Tensor, step: StepInputs, out: Tensor) -> None:
        n_tiles = len(step.decodes)
        wanted = -(-self._n_programs // (n_tiles * self._n_kv_heads))
        n_splits = max(1, min(SPLITS_MAX, wanted))
        n_heads = self._n_kv_heads * self._group
        shape = (n_tiles, n_heads, n_splits)
        mixed = torch.empty(*shape, self._head_dim, dtype=torch.float32, device=q.device)
        # Of each split: its largest score, and the sum of its weights.
        peaks = torch.empty(*shape, 2, dtype=torch.float32, device=q.device)
        self._attend(q, pages, step.tables, step.decodes, self._decode_rows, mixed, peaks, n_splits)
        join_splits[(n_tiles, n_heads)](
            mixed, peaks, step.decodes, out, n_splits, n_heads, self._head_dim,
            self._head_dim_padded, num_warps=1,
        )  # fmt: skip

    def _attend(
        self, q: Tensor, pages: Tensor, tables: Tensor, tiles: Tensor, rows: int, out: Tensor,
        peaks: Tensor, n_splits: int,
    ) -> None:  # fmt: skip
        attend_tile[(len(tiles), self._n_kv_heads, n_splits)](
            q, pages[KEYS], pages[VALUES], tables, tiles, out, peaks, n_splits,
            self._head_dim**-0.5 / LN_2,
            q_stride=q.stride(0), n_kv_heads=self._n_kv_heads, group=self._group,
            head_dim=self._head_dim, head_dim_padded=self._head_dim_padded, window=self._window,
            block_size=BLOCK_SIZE, rows=rows, keys_at_once=KEYS_BYTES // q.dtype.itemsize,
            split=peaks is not out,
        )  # fmt: skip


# `n_splits` varies: Triton is not to compile the kernel anew for 1 and for multiples of 16.
@triton.jit(do_not_specialize=["n_splits"])  # type: ignore[untyped-decorator]
def attend_tile(
    q: tl.tensor, keys: tl.tensor, values: tl.tensor, tables: tl.tensor, tiles: tl.tensor,
    out: tl.tensor, peaks: tl.tensor, n_splits: tl.tensor, scale: tl.tensor,
    q_stride: tl.constexpr, n_kv_heads: tl.constexpr, group: tl.constexpr, head_dim: tl.constexpr,
    head_dim_padded: tl.constexpr, window: tl.constexpr, block_size: tl.constexpr,
    rows: tl.constexpr, keys_at_once: tl.constexpr, split: tl.constexpr,
) -> None:  # fmt: skip
    """One program: a tile, a KV head, a split. Tiles: [n, 4] int32, see `StepInputs`."""
    tile, kv_head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    first_row = tl.load(tiles + tile * 4)
    n_rows = tl.load(tiles + tile * 4 + 1)
    start = tl.load(tiles + tile * 4 + 2)
    table = tables + tl.load(tiles + tile * 4 + 3)

    row = tl.arange(0, rows)
    token, head = row // group, kv_head * group + row % group
    real = token < n_rows
    column = tl.arange(0, head_dim_padded)
    inside = column < head_dim
    q_at = (first_row + token).to(tl.int64)[:, None] * q_stride + head[:, None] * head_dim + column
    queries = tl.load(q + q_at, mask=real[:, None] & inside, other=0.0)

    # The keys that any of the rows sees, and of these the split's.
    end = start + n_rows
    begin = 0
    if window > 0:
        begin = tl.maximum(0, start - window + 1) // block_size * block_size
    n_turns = tl.cdiv(tl.cdiv(end - begin, keys_at_once), n_splits)
    begin += part * n_turns * keys_at_once
    end = tl.minimum(end, begin + n_turns * keys_at_once)

    # Not -inf: a row that sees none of some keys would subtract it from itself.
    peak = tl.full([rows], -1e30, tl.float32)
    total = tl.zeros([rows], tl.float32)
    mixed = tl.zeros([rows, head_dim_padded], tl.float32)
    position = start + token
    for at in range(begin, end, keys_at_once):
        key = at + tl.arange(0, keys_at_once)
        there = key < end
        block = tl.load(table + key // block_size, mask=there, other=0).to(tl.int64)
        slot = (block * block_size + key % block_size) * n_kv_heads + kv_head
        kv_at = slot[:, None] * head_dim + column
        kv_there = there[:, None] & inside
        k = tl.load(keys + kv_at, mask=kv_there, other=0.0)
        scores = tl.dot(queries, tl.trans(k), input_precision="ieee") * scale
        seen = there & (key <= position[:, None])
        if window > 0:
            seen = seen & (key > position[:, None] - window)
        scores = tl.where(seen, scores, float("-inf"))
        new_peak = tl.maximum(peak, tl.max(scores, 1))
        weights = tl.exp2(scores - new_peak[:, None])
        shrink = tl.exp2(peak - new_peak)
        total = total * shrink + tl.sum(weights, 1)
        v = tl.load(values + kv_at, mask=kv_there, other=0.0)
        mixed = mixed * shrink[:, None]
        mixed += tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        peak = new_peak

    if split:
        n_heads = n_kv_heads * group
        found = (tile * n_heads + head) * n_splits + part
        tl.store(out + found[:, None] * head_dim + column, mixed, mask=real[:, None] & inside)
        tl.store(peaks + found * 2, peak, mask=real)
        tl.store(peaks + found * 2 + 1, total, mask=real)
    else:
        width = n_kv_heads * group * head_dim
        out_at = (first_row + token)[:, None] * width + head[:, None] * head_dim + column
        mixed = mixed / tl.where(real, total, 1.0)[:, None]
        tl.store(out + out_at, mixed.to(out.dtype.element_ty), mask=real[:, None] & inside)


@triton.jit(do_not_specialize=["n_splits"])  # type: ignore[untyped-decorator]
def join_splits(
    mixed: tl.tensor, peaks: tl.tensor, tiles: tl.tensor, out: tl.tensor, n_splits: tl.tensor,
    n_heads: tl.constexpr, head_dim: tl.constexpr, head_dim_padded: tl.constexpr,
) -> None:  # fmt: skip
    """One program: a tile of one row, and a head."""
    tile, head = tl.program_id(0), tl.program_id(1)
    row = tl.load(tiles + tile * 4)
    column = tl.arange(0, head_dim_padded)
    inside = column < head_dim
    peak, total = -1e30, 0.0
    joined = tl.zeros([head_dim_padded], tl.float32)
    for part in range(n_splits):
        found = (tile * n_heads + head) * n_splits + part
        new_peak = tl.maximum(peak, tl.load(peaks + found * 2))
        shrink = tl.exp2(peak - new_peak)
        grow = tl.exp2(tl.load(peaks + found * 2) - new_peak)
        total = total * shrink + tl.load(peaks + found * 2 + 1) * grow
        some = tl.load(mixed + found * head_dim + column, mask=inside, other=0.0)
        joined = joined * shrink + some * grow
        peak = new_peak
    out_at = (row * n_heads + head) * head_dim + column
    tl.store(out + out_at, (joined / total).to(out.dtype.element_ty), mask=inside)
