"""Computing a step: tokens in, through the model, sampled tokens out."""

from collections.abc import Sequence

import torch
from torch import Tensor

from weir_inference.adapters.engines.torch.kv_cache import KVCache
from weir_inference.adapters.engines.torch.model import LlamaModel
from weir_inference.adapters.engines.torch.paged_attention import PagedAttention
from weir_inference.adapters.engines.torch.sampler import sample
from weir_inference.core.request import Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.sequence import Sequence as TokenSequence
from weir_inference.core.step_plan import Slice, StepPlan


class ModelRunner:
    """A model and its KV cache on one device. Used by one thread."""

    def __init__(self, model: LlamaModel, cache: KVCache, device: torch.device) -> None:
        self.model = model
        self._cache = cache
        self._device = device

    @torch.inference_mode()
    def run(self, plan: StepPlan) -> list[int]:
        """Compute a step; one sampled token for each slice that samples, in order."""
        hidden = self.hidden_states(plan.slices)
        sampling, rows, row = [], [], -1
        for one in plan.slices:
            row += len(one.token_ids)
            if one.samples:
                sampling.append(one)
                rows.append(row)
        if not sampling:
            return []
        return sample(self.model.logits(hidden[self._index(rows)]), sampling)

    @torch.inference_mode()
    def hidden_states(self, slices: Sequence[Slice]) -> Tensor:
        """Run the model over the slices' tokens, keeping their KV: [tokens, hidden]."""
        ids = [token_id for one in slices for token_id in one.token_ids]
        positions = [position for one in slices for position in range(one.start, one.end)]
        window = self.model.config.sliding_window
        attend = PagedAttention(self._cache, slices, window, self._device)
        hidden: Tensor = self.model(self._index(ids), self._index(positions), attend)
        return hidden

    def warm_up(self) -> None:
        """A real prompt step and a real decoding step: the first request finds all in place.

        Writes into block 0 before anyone holds it.
        """
        request = Request("warm-up", (0, 0), 2, Sampling(temperature=1.0, top_p=0.9, seed=0))
        sequence = TokenSequence(request, queued_at_s=0.0)
        prompt = Slice(sequence, 0, [0, 0], [0], samples=True, n_output=0)
        (token_id,) = self.run(StepPlan((prompt,)))
        decode = Slice(sequence, 2, [token_id], [0], samples=True, n_output=1)
        self.run(StepPlan((decode,)))

    def _index(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._device)
