"""Sampling follows the distribution asked for, and each request its own seed."""

import pytest
import torch
from torch import Tensor
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from weir_inference.adapters.engines.torch import sampler
from weir_inference.adapters.engines.torch.sampler import sample, uniform
from weir_inference.core.request import Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.sequence import Sequence
from weir_inference.core.step_plan import Slice

N_DRAWS = 20_000


@pytest.fixture(autouse=True)
def narrow_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small vocabulary shows cuts inside the first width, the second and beyond."""
    monkeypatch.setattr(sampler, "WIDTHS", (16, 64))


def slice_of(sampling: Sampling, n_output: int = 0) -> Slice:
    sequence = Sequence(Request("a", (1,), 9, sampling), 0.0)
    return Slice(sequence, 0, [1], [0], samples=True, n_output=n_output)


def random_logits(vocab: int, seed: int = 0) -> Tensor:
    return 2.5 * torch.randn(vocab, generator=torch.Generator().manual_seed(seed))


def wanted_distribution(logits: Tensor, sampling: Sampling) -> Tensor:
    """What transformers would draw from."""
    scores, ids = logits.unsqueeze(0), torch.zeros(1, 1, dtype=torch.int64)
    scores = TemperatureLogitsWarper(sampling.temperature)(ids, scores)
    if sampling.top_k:
        scores = TopKLogitsWarper(sampling.top_k)(ids, scores)
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(sampling.top_p)(ids, scores)
    return scores.softmax(-1)[0]


@pytest.mark.parametrize("vocab", [10, 50, 300])
@pytest.mark.parametrize(
    ("temperature", "top_p", "top_k"),
    [
        (1.0, 1.0, 0),
        (0.5, 1.0, 0),
        (1.0, 0.7, 0),
        (1.0, 1.0, 7),
        (1.3, 0.8, 20),
        (2.0, 0.999, 0),
        (2.0, 0.9, 100),
        (1.0, 1.0, 10**6),
    ],
)
def test_draws_follow_the_distribution_of_transformers(
    vocab: int, temperature: float, top_p: float, top_k: int
) -> None:
    sampling = Sampling(temperature, top_p, top_k, seed=11)
    logits = random_logits(vocab)
    tokens = sample(
        logits.expand(N_DRAWS, -1), [slice_of(sampling, n_output) for n_output in range(N_DRAWS)]
    )
    wanted = wanted_distribution(logits, sampling)
    seen = torch.bincount(torch.tensor(tokens), minlength=vocab) / N_DRAWS
    assert not seen[wanted == 0].any(), "what is cut off is never drawn"
    # Total variation of N draws from k outcomes stays near sqrt(k / N) / 2 or below.
    k = int((wanted * N_DRAWS > 1).sum())
    assert (seen - wanted).abs().sum().item() / 2 < 0.75 * (k / N_DRAWS) ** 0.5 + 0.005


def test_greedy_is_the_likeliest_token_whatever_else_is_set() -> None:
    logits = torch.stack([random_logits(400, seed) for seed in range(8)])
    slices = [slice_of(Sampling(0.0, top_p=0.3, top_k=2, seed=seed)) for seed in range(8)]
    assert sample(logits, slices) == logits.argmax(-1).tolist()


def test_a_request_draws_the_same_whatever_runs_beside_it() -> None:
    choices = [
        Sampling(0.0),
        Sampling(1.0, seed=1),
        Sampling(0.7, top_p=0.9, seed=2),
        Sampling(2.0, top_p=0.9999, seed=3),
        Sampling(1.5, top_k=5, seed=4),
        Sampling(1.5, top_k=200, seed=5),
    ] * 4
    logits = torch.stack([random_logits(400, seed) for seed in range(len(choices))])
    slices = [slice_of(choice, n) for n, choice in enumerate(choices)]
    together = sample(logits, slices)
    alone = [sample(logits[n : n + 1], [one])[0] for n, one in enumerate(slices)]
    assert together == alone
    backwards = sample(logits.flip(0), slices[::-1])
    assert together == backwards[::-1]


def test_the_seed_decides_the_draws() -> None:
    logits = random_logits(400).expand(30, -1)

    def draws(seed: int) -> list[int]:
        return sample(logits, [slice_of(Sampling(seed=seed), n) for n in range(30)])

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)


def test_uniform_numbers_are_spread_evenly_over_seeds_and_positions() -> None:
    for numbers in (
        [uniform(seed, 0) for seed in range(4000)],
        [uniform(7, position) for position in range(4000)],
    ):
        assert all(0 <= number < 1 for number in numbers)
        counts = torch.histc(torch.tensor(numbers), bins=20, min=0, max=1)
        assert counts.min() > 130
        assert counts.max() < 270


def test_a_cold_temperature_in_bf16_stays_finite() -> None:
    logits = random_logits(300).to(torch.bfloat16).unsqueeze(0)
    assert sample(logits, [slice_of(Sampling(1e-4, seed=1))]) == logits.argmax(-1).tolist()
