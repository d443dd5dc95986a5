"""Computing a step: tokens in, through the model, chosen tokens out."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from weir_inference.adapters.engines.torch.backend import Backend
from weir_inference.adapters.engines.torch.forward import Forward
from weir_inference.adapters.engines.torch.logprobs import score_prompt
from weir_inference.adapters.engines.torch.lora import LoraAdapters
from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.engines.torch.placing import placed
from weir_inference.adapters.engines.torch.sampler import Sampler
from weir_inference.adapters.engines.torch.weights import DecoderWeights
from weir_inference.core.request import Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.sequence import Sequence as TokenSequence
from weir_inference.core.step_plan import Slice, SliceResult, StepPlan
from weir_inference.core.token_logprob import TokenLogprob

SCORED_ROWS = 32  # prompt tokens whose logits are held at once: a row is a whole vocabulary


class ModelRunner:
    """A model and its KV cache on one device. Used by one thread."""

    def __init__(
        self,
        config: ModelConfig,
        weights: DecoderWeights,
        backend: Backend,
        forward: Forward,
        adapters_max: int,
    ) -> None:
        self.config = config
        self.weights = weights
        self.backend = backend
        self.forward = forward
        self.adapters = LoraAdapters(config, weights, backend, adapters_max)
        self._sampler = Sampler(backend.likeliest)
        self._chosen: Tensor | None = None  # by the step that started last

    @property
    def overlaps(self) -> bool:
        """See `Runner`."""
        return self.backend.device.type == "cuda"

    @torch.inference_mode()
    def start(self, plan: StepPlan) -> Callable[[], list[SliceResult]]:
        """See `Runner`."""
        hidden = self.hidden_states(plan.slices, self._chosen if plan.follows else None)
        self._chosen = None
        rows: list[int] = []
        first = 0
        for one in plan.slices:
            first += len(one.token_ids)
            rows.extend(range(first - one.n_sampled, first))
        choice = None
        if rows:
            logits = self.logits(hidden if len(rows) == len(hidden) else hidden[self._index(rows)])
            choice = self._sampler.start(logits, plan.slices)
            self._chosen = choice.tokens
        # Now, not when the results are asked for: what is hidden is valid until the next step.
        scores = self._score_prompts(plan.slices, hidden)

        def results() -> list[SliceResult]:
            results = [SliceResult()] * len(plan.slices) if choice is None else choice.results()
            for n, scored in scores.items():
                results[n] = replace(results[n], prompt_logprobs=scored)
            return results

        return results

    @torch.inference_mode()
    def hidden_states(self, slices: Sequence[Slice], chosen: Tensor | None = None) -> Tensor:
        """See `Forward`: [tokens, hidden]."""
        return self.forward(slices, self.adapters.adapt(slices), chosen)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """[rows, hidden] → [rows, vocab]; valid until the next step."""
        return self.backend.ops.linear(hidden, self.weights.lm_head)

    def warm_up(self) -> None:
        """A real prompt step and a real decoding step: the first request finds all in place.

        Writes into block 0 before anyone holds it.
        """
        request = Request("warm-up", (0, 0), 2, Sampling(temperature=1.0, top_p=0.9, seed=0))
        sequence = TokenSequence(request, queued_at_s=0.0)
        prompt = Slice(sequence, 0, [0, 0], [0], samples=True, n_output=0)
        (result,) = self.start(StepPlan((prompt,)))()
        decoding = Slice(sequence, 2, result.token_ids, [0], samples=True, n_output=1)
        self.start(StepPlan((decoding,)))()

    def _score_prompts(
        self, slices: Sequence[Slice], hidden: Tensor
    ) -> dict[int, tuple[TokenLogprob, ...]]:
        """Of the slices whose prompts are scored, by their numbers. hidden: [tokens, hidden]."""
        scores, first = {}, 0
        for n, one in enumerate(slices):
            if one.request.prompt_top_logprobs is not None:
                scores[n] = self._score_prompt(one, hidden[first : first + len(one.token_ids)])
            first += len(one.token_ids)
        return scores

    def _score_prompt(self, one: Slice, hidden: Tensor) -> tuple[TokenLogprob, ...]:
        """How likely the prompt tokens after those of the slice were. hidden: [tokens, hidden]."""
        n_rows = min(len(hidden), len(one.request.prompt_token_ids) - 1 - one.start)
        scored: list[TokenLogprob] = []
        for first in range(0, max(0, n_rows), SCORED_ROWS):
            last = min(n_rows, first + SCORED_ROWS)
            scored.extend(score_prompt(self.logits(hidden[first:last]), one, first))
        return tuple(scored)

    def _index(self, values: list[int]) -> Tensor:
        return placed(values, torch.int64, self.backend.device)
