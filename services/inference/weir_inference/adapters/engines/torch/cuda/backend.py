"""`Backend` on a GPU: torch's weights and products, Triton's attention over the paged cache."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from weir_inference.adapters.engines.torch.backend import Part, TorchBackend
from weir_inference.adapters.engines.torch.cuda.attention import RaggedAttention
from weir_inference.adapters.engines.torch.cuda.ops import CudaOps
from weir_inference.adapters.engines.torch.cuda.rotary import rotate_and_store
from weir_inference.adapters.engines.torch.cuda.step_inputs import StepInputs, StepNumbers
from weir_inference.adapters.engines.torch.decoder import Rope
from weir_inference.adapters.engines.torch.kv_cache import BLOCK_SIZE, KVCache
from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.engines.torch.placing import placed
from weir_inference.adapters.engines.torch.weights import LayerWeights, Matrix
from weir_inference.core.step_plan import Slice

PROGRAMS_PER_CORE = 2  # that a streaming multiprocessor is to have at least


class CudaBackend:
    """`dtype` is that of weights, activations and cache.

    `n_programs`: see `RaggedAttention`; None for what fills the device.
    """

    name = "cuda"

    def __init__(
        self,
        config: ModelConfig,
        dtype: torch.dtype,
        device: torch.device,
        quantize: str,
        n_programs: int | None = None,
    ) -> None:
        self.ops = CudaOps()
        self.device = device
        self._config = config
        self._dtype = dtype
        self._weights = TorchBackend(config, dtype, device, quantize)
        if n_programs is None:
            properties = torch.cuda.get_device_properties(device)
            n_programs = PROGRAMS_PER_CORE * properties.multi_processor_count
        self._ragged = RaggedAttention(config, dtype, n_programs)

    @property
    def block_bytes(self) -> int:
        """See `Backend`."""
        return self._weights.block_bytes

    def matrix(
        self, parts: Iterator[Part], heights: Sequence[int], *, gated: bool = False
    ) -> Matrix:
        """See `Backend`."""
        return self._weights.matrix(parts, heights, gated=gated)

    def plain(self, weight: Tensor) -> Matrix:
        """See `Backend`."""
        return self._weights.plain(weight)

    def vector(self, tensor: Tensor) -> Tensor:
        """See `Backend`."""
        return self._weights.vector(tensor)

    def open_cache(self, n_blocks: int, rope: Rope) -> None:
        """See `Backend`. One block more than that is `scratch_block`."""
        self.scratch_block = n_blocks
        self.cache = KVCache(self._config, n_blocks + 1, self._dtype, self.device)
        self._rope = rope.to(self.device)

    @property
    def context_blocks(self) -> int:
        """Of the longest sequence."""
        return -(-len(self._rope.cos) // BLOCK_SIZE)

    def attention(self, slices: Sequence[Slice], positions: Tensor) -> "CudaAttention":
        """See `Backend`."""
        del positions
        return self.attend(self.inputs(slices))

    def likeliest(self, logits: Tensor) -> list[int]:
        """See `Backend`."""
        return self._weights.likeliest(logits)

    def attend(self, step: StepInputs) -> "CudaAttention":
        """The `Attend` of a step whose numbers are on the device."""
        return CudaAttention(self._config, self.cache, self.ops, self._rope, self._ragged, step)

    def inputs(self, slices: Sequence[Slice]) -> StepInputs:
        """A step's numbers on the device, by one copy."""
        numbers = self.numbers()
        for one in slices:
            numbers.add(one.token_ids, one.start, one.block_ids)
        return StepInputs.of(placed(numbers.packed(), torch.int32, self.device), numbers.shape)

    def numbers(self) -> StepNumbers:
        """To gather a step's numbers in."""
        return StepNumbers(self._ragged.tokens_of_a_tile)


class CudaAttention:
    """The `Attend` of one step."""

    def __init__(
        self,
        config: ModelConfig,
        cache: KVCache,
        ops: CudaOps,
        rope: Rope,
        ragged: RaggedAttention,
        step: StepInputs,
    ) -> None:
        self._config = config
        self._cache = cache
        self._ops = ops
        self._rope = rope
        self._ragged = ragged
        self._step = step

    def __call__(self, layer: int, qkv: Tensor, weights: LayerWeights) -> Tensor:
        """See `Attend`; writes over `qkv`."""
        config, pages = self._config, self._cache.pages[layer]
        if weights.q_norm is not None and weights.k_norm is not None:
            heads = qkv.view(len(qkv), -1, config.head_dim)
            q = heads[:, : config.n_heads]
            k = heads[:, config.n_heads : config.n_heads + config.n_kv_heads]
            q.copy_(self._ops.norm(q, weights.q_norm, config.rms_norm_eps))
            k.copy_(self._ops.norm(k, weights.k_norm, config.rms_norm_eps))
        rotate_and_store(config, self._rope, qkv, pages, self._step)
        return self._ragged(qkv, pages, self._step)
