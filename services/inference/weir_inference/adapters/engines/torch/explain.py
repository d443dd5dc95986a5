"""Why a token was chosen: how its log-probability hangs on the embeddings before it."""

import asyncio
import math
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from weir_inference.adapters.engines.torch.decoder import (
    CausalAttend,
    Rope,
    decode_layer,
    unadapted,
)
from weir_inference.adapters.engines.torch.gradients import GradientOps
from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.engines.torch.model_runner import ModelRunner
from weir_inference.core.explanation import AttributionMethod, Explanation, ExplanationRequest
from weir_kit.errors import InvalidArgument

NICENESS = 10  # of the explaining thread: steps take their cores first
TOKENS_AT_ONCE = 256  # points of an integral are computed together up to this
MEMORY_MB_MAX = 2048
DECADES = range(-96, 1, 3)  # powers of ten
UNMOVED = 1e-3


class Stopped(Exception):
    """Nobody waits for the explanation any more."""


class Explainer:
    """Explains tokens of a runner's model on a thread of its own, one after the other.

    That thread reads the weights and nothing else of the runner, and computes with itself alone:
    `torch.set_num_threads` bounds OpenMP for the thread that calls it, and for threads that first
    use torch later; the engine's has by then.
    """

    def __init__(self, runner: ModelRunner) -> None:
        self._config = runner.config
        self._runner = runner
        self._closing = threading.Event()
        self._thread = ThreadPoolExecutor(1, "explain", initializer=_step_back)

    async def explain(self, request: ExplanationRequest) -> Explanation:
        """See `Engine.explain`."""
        _check_memory(request, self._config)
        stopping = threading.Event()

        def pause() -> None:
            if stopping.is_set() or self._closing.is_set():
                raise Stopped

        try:
            event_loop = asyncio.get_running_loop()
            return await event_loop.run_in_executor(self._thread, self.attribute, request, pause)
        finally:
            stopping.set()

    def attribute(self, request: ExplanationRequest, pause: Callable[[], None]) -> Explanation:
        """The explanation, computed by the calling thread; what `pause` raises ends it."""
        integral = request.method is AttributionMethod.INTEGRATED_GRADIENTS
        dtype = torch.float64 if integral else torch.float32
        logprobs = TokenLogprobs(self._runner, request, dtype, pause)
        logprob, attributions = logprobs.slopes(torch.ones(1, dtype=dtype))
        if integral:
            attributions = integrate(logprobs, request.steps)
        return Explanation(logprob[0].item(), tuple(attributions.flatten().tolist()))

    def close(self) -> None:
        """End what is being explained, and the thread."""
        self._closing.set()
        self._thread.shutdown(cancel_futures=True)


class TokenLogprobs:
    """The log-probability of a request's last token, with the embeddings before it times α."""

    def __init__(
        self,
        runner: ModelRunner,
        request: ExplanationRequest,
        dtype: torch.dtype,
        pause: Callable[[], None],
    ) -> None:
        *before, self._token_id = request.prompt_token_ids + request.output_token_ids
        ids = torch.tensor(before, device=runner.backend.device)
        self._config = runner.config
        self._weights = runner.weights
        self._ops = GradientOps(dtype, pause)
        self._rope = Rope.of(runner.config, len(before)).to(ids.device)
        self._adapt = (
            runner.adapters.get(request.adapter).everywhere(self._ops)
            if request.adapter is not None
            else unadapted
        )
        self._inputs = self._ops.embed(runner.weights.embedding, ids)
        self._at_once = max(1, TOKENS_AT_ONCE // len(before))

    @torch.no_grad()
    def values(self, alphas: Tensor) -> Tensor:
        """[points] → [points]."""
        return torch.cat([self._values(self._scaled(some)) for some in self._some(alphas)])

    def slopes(self, alphas: Tensor) -> tuple[Tensor, Tensor]:
        """Values and each token's part in the derivative by α: [points] → [points, tokens]."""
        values, slopes = [], []
        for some in self._some(alphas):
            inputs = self._scaled(some).requires_grad_()
            found = self._values(inputs)
            (gradients,) = torch.autograd.grad(found.sum(), inputs)
            values.append(found.detach())
            slopes.append((gradients * self._inputs).sum(-1))
        return torch.cat(values), torch.cat(slopes)

    def _some(self, alphas: Tensor) -> tuple[Tensor, ...]:
        return torch.split(alphas.to(self._inputs.device), self._at_once)

    def _scaled(self, alphas: Tensor) -> Tensor:
        return alphas.view(-1, 1, 1) * self._inputs

    def _values(self, inputs: Tensor) -> Tensor:
        """[points, tokens, hidden] → [points].

        Between layers only their inputs are kept; what a layer makes of its input is computed again
        for the gradient.
        """
        n_points, n_tokens, _ = inputs.shape
        config, ops = self._config, self._ops
        attend = CausalAttend(config, ops, self._rope, n_points, n_tokens)
        x = inputs.flatten(0, 1)
        for i, layer in enumerate(self._weights.layers):
            x = checkpoint(
                decode_layer, i, layer, ops, x, attend, config.rms_norm_eps, self._adapt,
                use_reentrant=False, preserve_rng_state=False,
            )  # fmt: skip
        last = x.view(n_points, n_tokens, -1)[:, -1]
        last = ops.norm(last, self._weights.norm, config.rms_norm_eps)
        logits = ops.linear(last, self._weights.lm_head)
        return logits.log_softmax(-1)[:, self._token_id]


def integrate(logprobs: TokenLogprobs, n_points: int) -> Tensor:
    """Each token's part in what the log-probability gains on the straight way from 0: [tokens].

    A norm makes its input the same for every α but those near 0, where its eps counts, and √eps of
    one layer is a thousandth of that for the next: the gain is spread over many powers of ten, and
    points evenly spread in α miss nearly all of it. So the trapezoids stand in u, where
    α = a · sinh(u), and below `a` little happens. A quarter of the points are evenly spread there;
    each other halves one of the trapezoids that are most wrong: the sum of each over the tokens is
    to be the difference of the values at its sides.
    """
    a = _least_alpha(logprobs)
    u = torch.linspace(0.0, math.asinh(1.0 / a), max(2, n_points // 4), dtype=torch.float64)
    values, slopes = _in_u(logprobs, a, u)
    while True:
        trapezoids = (slopes[1:] + slopes[:-1]) / 2 * u.diff().unsqueeze(1)
        n_more = min(n_points - len(u), max(1, len(u) // 4))
        if n_more <= 0:
            return trapezoids.sum(0)
        errors = (trapezoids.sum(1) - values.diff()).abs()
        worst = errors.topk(n_more).indices
        more = (u[worst] + u[worst + 1]) / 2
        more_values, more_slopes = _in_u(logprobs, a, more)
        u, order = torch.cat((u, more)).sort()
        values = torch.cat((values, more_values))[order]
        slopes = torch.cat((slopes, more_slopes))[order]


def _in_u(logprobs: TokenLogprobs, a: float, u: Tensor) -> tuple[Tensor, Tensor]:
    """Values and slopes by u: [points], [points, tokens]; on the CPU."""
    values, slopes = logprobs.slopes(a * u.sinh())
    return values.cpu(), slopes.cpu() * (a * u.cosh()).unsqueeze(1)


def _least_alpha(logprobs: TokenLogprobs) -> float:
    """A power of ten below which the log-probability is about that of 0."""
    alphas = torch.tensor([0.0, *(10.0**k for k in DECADES)], dtype=torch.float64)
    values = logprobs.values(alphas)
    changed = (values - values[0]).abs()
    first = int((changed > UNMOVED * changed.max()).nonzero()[0]) if changed.max() > 0 else -1
    return float(alphas[max(1, first - 1)])


def _check_memory(request: ExplanationRequest, config: ModelConfig) -> None:
    """Activations in fp64: the inputs of all layers, and what one layer makes of its input."""
    n_tokens = len(request.prompt_token_ids) + len(request.output_token_ids)
    per_layer = 12 * config.hidden_size + 8 * config.intermediate_size + 8 * config.width_q
    numbers = max(n_tokens, TOKENS_AT_ONCE) * (config.n_layers * config.hidden_size + per_layer)
    needed_mb = 8 * numbers >> 20
    if needed_mb > MEMORY_MB_MAX:
        raise InvalidArgument(
            f"{n_tokens} tokens take {needed_mb} MB to explain, more than {MEMORY_MB_MAX}",
            field="prompt_token_ids",
        )


def _step_back() -> None:
    """Of the explaining thread: one core at most, and that only while steps leave it."""
    torch.set_num_threads(1)
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
