"""Keys and values of all sequences, in pages."""

import math

import numpy as np
import torch
from torch import Tensor

from weir_inference.adapters.engines.torch.model_config import ModelConfig

BLOCK_SIZE = 16
KEYS, VALUES = 0, 1


class KVCache:
    """One tensor, [layer, 2, blocks, block_size, kv_heads, head_dim]; `2` is keys and values.

    Written by slot (block · block_size + offset), read by block.
    """

    def __init__(
        self, config: ModelConfig, n_blocks: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (config.n_layers, 2, n_blocks, BLOCK_SIZE, config.n_kv_heads, config.head_dim)
        self.pages = _zeros(shape, dtype, device)

    def write(self, layer: int, slots: Tensor, k: Tensor, v: Tensor) -> None:
        """Store k, v [tokens, kv_heads, head_dim] at `slots` [tokens] int64."""
        self.pages[layer, KEYS].flatten(0, 1).index_copy_(0, slots, k)
        self.pages[layer, VALUES].flatten(0, 1).index_copy_(0, slots, v)

    def read(self, layer: int, table: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of block tables [sequences, blocks] int64.

        → two of [sequences, kv_heads, blocks · block_size, head_dim].
        """
        k, v = (
            self.pages[layer, part]
            .index_select(0, table.flatten())
            .view(table.shape[0], -1, *self.pages.shape[-2:])
            .transpose(1, 2)
            for part in (KEYS, VALUES)
        )
        return k, v


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros, not just any memory: what is masked out is still multiplied, and 0 · NaN is NaN.

    On a CPU they come from numpy, which asks the system for zero pages: those cost nothing until
    they are written, where torch would write each of them now.
    """
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    n_bytes = math.prod(shape) * dtype.itemsize
    return torch.from_numpy(np.zeros(n_bytes, dtype=np.uint8)).view(dtype).view(shape)


def block_bytes(config: ModelConfig, dtype: torch.dtype) -> int:
    """Memory of one block over all layers."""
    per_token = config.n_layers * 2 * config.n_kv_heads * config.head_dim
    return per_token * BLOCK_SIZE * dtype.itemsize
