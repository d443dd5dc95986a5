"""Sampling follows the distribution asked for, and each request its own seed."""

from collections import Counter
from collections.abc import Sequence as ReadOnlyList

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    LogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from weir_inference.adapters.engines.torch import batch_draw, row_draw
from weir_inference.adapters.engines.torch.batch_draw import draw_batch
from weir_inference.adapters.engines.torch.logprobs import score_prompt
from weir_inference.adapters.engines.torch.row_draw import draw_rows
from weir_inference.adapters.engines.torch.sampler import Sampler, uniform
from weir_inference.core.grammar import Grammar, Matcher
from weir_inference.core.request import Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.sequence import Sequence
from weir_inference.core.step_plan import Slice, SliceResult
from weir_inference.core.token_logprob import TokenLogprob

N_DRAWS = 1500
VOCAB = 40
CUTS = [
    Sampling(1.0),
    Sampling(0.5),
    Sampling(1.0, top_p=0.7),
    Sampling(1.0, top_k=7),
    Sampling(1.3, top_p=0.8, top_k=20),
    Sampling(2.0, top_p=0.999),
    Sampling(2.0, top_p=0.9, top_k=100),
    Sampling(1.0, top_k=10**6),
    Sampling(1.5, min_p=0.1),
    Sampling(1.5, top_p=0.8, min_p=0.05),
    Sampling(1.5, top_p=0.9, top_k=9, min_p=0.02),
]


class EvenTokens:
    """A grammar of even tokens, each other than the one before it."""

    def matcher(self) -> Matcher:
        return self

    def allowed(self, output: ReadOnlyList[int]) -> bytes:
        last = output[-1] if output else None
        bits = sum(1 << token for token in range(0, VOCAB - 8, 2) if token != last)
        return bits.to_bytes(VOCAB // 8 - 1, "little")  # fewer tokens than the model


class ThreeTokens:
    """A grammar that can be followed for three tokens and no further."""

    def matcher(self) -> Matcher:
        return self

    def allowed(self, output: ReadOnlyList[int]) -> bytes | None:
        return b"\xff" if len(output) < 3 else None


def sequence_of(
    sampling: Sampling,
    prompt: tuple[int, ...] = (1,),
    output: ReadOnlyList[int] = (),
    grammar: Grammar | None = None,
    top_logprobs: int | None = None,
) -> Sequence:
    request = Request("a", prompt, 99, sampling, grammar=grammar, top_logprobs=top_logprobs)
    sequence = Sequence(request, 0.0)
    sequence.token_ids.extend(output)
    return sequence


def slice_of(sequence: Sequence, drafts: ReadOnlyList[int] = (), samples: bool = True) -> Slice:
    n_output = len(sequence.token_ids) - len(sequence.request.prompt_token_ids)
    token_ids = [sequence.token_ids[-1], *drafts]
    start = len(sequence.token_ids) - 1
    return Slice(sequence, start, token_ids, [0], samples, n_output, len(drafts))


def random_logits(vocab: int, seed: int = 0) -> Tensor:
    return 2.5 * torch.randn(vocab, generator=torch.Generator().manual_seed(seed))


def sample(logits: Tensor, slices: ReadOnlyList[Slice]) -> list[SliceResult]:
    return Sampler().start(logits.clone(), slices).results()


def wanted_distribution(logits: Tensor, sampling: Sampling) -> Tensor:
    """What transformers would draw from, its warpers in vLLM's order."""
    scores = logits.unsqueeze(0)
    warpers: list[LogitsProcessor] = [TemperatureLogitsWarper(sampling.temperature)]
    if sampling.min_p:
        warpers.append(MinPLogitsWarper(sampling.min_p))
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    for warp in warpers:
        scores = warp(None, scores)  # none of them looks at the ids
    return scores.softmax(-1)[0]


@pytest.mark.parametrize("draw", ["rows", "batch"])
@pytest.mark.parametrize("vocab", [10, 300, 1500])
@pytest.mark.parametrize("sampling", CUTS)
def test_draws_follow_the_distribution_of_transformers(
    vocab: int, sampling: Sampling, draw: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that a small vocabulary shows cuts inside the first width, the second and beyond.
    monkeypatch.setattr(batch_draw, "WIDTHS", (16, 64))
    logits = random_logits(vocab)
    drawing = draw_rows if draw == "rows" else draw_batch
    # As a seed's numbers, but evenly spread: nothing is left to chance.
    numbers = [(n + 0.5) / N_DRAWS for n in range(N_DRAWS)]
    tokens = drawing(logits.expand(N_DRAWS, -1), [sampling] * N_DRAWS, numbers)
    wanted = wanted_distribution(logits, sampling)
    seen = torch.bincount(torch.as_tensor(tokens), minlength=vocab) / N_DRAWS
    assert not seen[wanted == 0].any(), "what is cut off is never drawn"
    torch.testing.assert_close(seen, wanted, atol=1.5 / N_DRAWS, rtol=1e-4)


def test_seeded_draws_pass_a_chi_square_test() -> None:
    logits = random_logits(12)
    slices = [
        slice_of(sequence_of(Sampling(seed=seed), output=[0] * n_output))
        for seed in range(60)
        for n_output in range(40)
    ]
    chosen = [one.token_ids[0] for one in sample(logits.expand(len(slices), -1), slices)]
    wanted = logits.softmax(-1) * len(slices)
    seen = torch.bincount(torch.tensor(chosen), minlength=12)
    statistic = ((seen - wanted) ** 2 / wanted).sum().item()
    assert statistic < 31.3  # 11 degrees of freedom: exceeded once in a thousand


samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 1e-4, 0.7, 1.0, 2.0]),
    top_p=st.sampled_from([1e-6, 0.3, 0.9, 0.9999, 1.0]),
    top_k=st.sampled_from([0, 1, 3, 30, 1000]),
    min_p=st.sampled_from([0.0, 0.0, 1e-4, 0.2, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 1.0, 0.5, 1.7]),
    presence_penalty=st.sampled_from([0.0, 0.0, -1.0, 1.5]),
    frequency_penalty=st.sampled_from([0.0, 0.0, -0.5, 2.0]),
    logit_bias=st.sampled_from([(), ((3, 4.5), (5, -100.0), (VOCAB + 9, 3.0))]),
    seed=st.integers(0, 2**64 - 1),
)
tokens = st.integers(0, VOCAB - 1)
outputs = st.lists(tokens, max_size=8)
prompts = st.lists(tokens, min_size=1, max_size=5).map(tuple)
grammars = st.sampled_from([None, None, EvenTokens()])
tops = st.sampled_from([None, 0, 4])


@st.composite
def steps(draw: st.DrawFn) -> tuple[list[Slice], Tensor]:
    """Slices of a step, and their logits: many of them equal, as they are in bf16."""
    slices = []
    for _ in range(draw(st.integers(1, 6))):
        sequence = sequence_of(
            draw(samplings), draw(prompts), draw(outputs), draw(grammars), draw(tops)
        )
        samples = draw(st.booleans()) or draw(st.booleans())
        drafts = draw(st.lists(tokens, max_size=4)) if samples else []
        slices.append(slice_of(sequence, drafts, samples))
    n_rows = sum(one.n_sampled for one in slices)
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    logits = (4 * torch.randn(n_rows, VOCAB, generator=random)).round() / 2
    return slices, logits.to(draw(st.sampled_from([torch.float32, torch.bfloat16])))


@given(steps())
def test_a_slice_gets_the_same_alone_and_in_a_batch(step: tuple[list[Slice], Tensor]) -> None:
    slices, logits = step
    parts = torch.split(logits, [one.n_sampled for one in slices])
    alone = [sample(part, [one])[0] for part, one in zip(parts, slices, strict=True)]
    assert sample(logits, slices) == alone
    backwards = torch.cat(list(reversed(parts)))
    assert sample(backwards, slices[::-1]) == alone[::-1]


@given(samplings, prompts, outputs, grammars, tops, st.integers(0, 2**32), st.data())
def test_drafts_that_are_right_leave_the_text_as_it_is(
    sampling: Sampling,
    prompt: tuple[int, ...],
    output: list[int],
    grammar: Grammar | None,
    top: int | None,
    seed: int,
    data: st.DataObject,
) -> None:
    logits = 3 * torch.randn(6, VOCAB, generator=torch.Generator().manual_seed(seed))
    sequence = sequence_of(sampling, prompt, output, grammar, top)
    sampler, results = Sampler(), []
    for row in logits:
        (result,) = sampler.start(row.clone().unsqueeze(0), [slice_of(sequence)]).results()
        results.append(result)
        sequence.token_ids.extend(result.token_ids)
    said = [token for result in results for token in result.token_ids]
    again = sequence_of(sampling, prompt, output, grammar, top)
    # The first drafts are right; what follows a wrong one is not looked at.
    n_right = data.draw(st.integers(0, 5))
    drafts = said[:n_right] + data.draw(st.lists(tokens, max_size=5 - n_right))
    (result,) = sample(logits[: len(drafts) + 1], [slice_of(again, drafts)])
    assert list(result.token_ids[: n_right + 1]) == said[: n_right + 1]
    told = [one for result in results for one in result.logprobs]
    assert [one.token_id for one in result.logprobs[: n_right + 1]] == [
        one.token_id for one in told[: n_right + 1]
    ]


@pytest.mark.parametrize(("n_output", "cut_at"), [(0, None), (1, 2), (2, 1), (3, 0)])
def test_a_grammar_that_cannot_go_on_says_where_it_cuts_the_output_off(
    n_output: int, cut_at: int | None
) -> None:
    logits = torch.stack([random_logits(VOCAB, seed) for seed in range(5)])
    grammatical = sequence_of(Sampling(0.0), output=[5] * n_output, grammar=ThreeTokens())
    free = sequence_of(Sampling(0.0))
    steps = [slice_of(free), slice_of(free, samples=False), slice_of(grammatical, [5, 5])]
    results = sample(logits[:4], steps)
    assert [result.cut_at for result in results] == [None, None, cut_at]


@given(samplings, prompts, outputs, st.integers(0, 2**32))
def test_penalties_are_those_of_transformers_and_openai(
    sampling: Sampling, prompt: tuple[int, ...], output: list[int], seed: int
) -> None:
    greedy = Sampling(
        0.0,
        repetition_penalty=sampling.repetition_penalty,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        logit_bias=sampling.logit_bias,
    )
    logits = 3 * torch.randn(1, VOCAB, generator=torch.Generator().manual_seed(seed))
    scores, ids = logits, torch.tensor([[*prompt, *output]])
    bias: dict[tuple[int, ...], float] = {(n,): b for n, b in greedy.logit_bias if n < VOCAB}
    if bias:
        scores = SequenceBiasLogitsProcessor(bias)(ids, scores)  # type: ignore[arg-type]
    scores = RepetitionPenaltyLogitsProcessor(greedy.repetition_penalty)(ids, scores).clone()
    for token, count in Counter(output).items():
        scores[0, token] -= greedy.frequency_penalty * count + greedy.presence_penalty
    changed = logits.clone()
    (result,) = Sampler().start(changed, [slice_of(sequence_of(greedy, prompt, output))]).results()
    torch.testing.assert_close(changed, scores)
    assert result.token_ids == (int(changed.argmax()),)


def test_a_history_that_lost_its_last_step_counts_afresh() -> None:
    sampling = Sampling(0.0, frequency_penalty=1.0)
    sequence, sampler = sequence_of(sampling, output=[4, 4, 5]), Sampler()
    sampler.start(torch.zeros(1, VOCAB), [slice_of(sequence)])
    del sequence.token_ids[-2:]
    logits = torch.zeros(1, VOCAB)
    sampler.start(logits, [slice_of(sequence)])
    assert logits[0, 4] == -1
    assert logits[0, 5] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logprobs_are_of_the_raw_logits_and_name_the_likeliest(dtype: torch.dtype) -> None:
    sampling = Sampling(0.5, top_k=3, seed=5, repetition_penalty=1.5, logit_bias=((7, 50.0),))
    logits = random_logits(2 * VOCAB).view(2, VOCAB).to(dtype)
    slices = [slice_of(sequence_of(sampling, top_logprobs=top)) for top in (4, 0)]
    wanted = logits.float().log_softmax(-1)
    (first, second) = sample(logits, slices)
    (told,) = first.logprobs
    assert told.token_id == first.token_ids[0] == 7
    assert told.logprob == pytest.approx(wanted[0, 7].item(), abs=1e-5)
    values, ids = wanted[0].topk(4)
    assert [token for token, _ in told.top] == ids.tolist()
    assert [value for _, value in told.top] == pytest.approx(values.tolist(), abs=1e-5)
    assert second.logprobs[0].top == ()


@settings(max_examples=30)
@given(st.integers(2, 60), st.data())
def test_a_prompt_is_scored_the_same_whole_and_in_chunks(
    n_prompt: int, data: st.DataObject
) -> None:
    random = torch.Generator().manual_seed(n_prompt)
    prompt = tuple(torch.randint(VOCAB, (n_prompt,), generator=random).tolist())
    logits = torch.randn(n_prompt, VOCAB, generator=random)
    request = Request("a", prompt, 9, Sampling(), prompt_top_logprobs=2)
    sequence = Sequence(request, 0.0)
    chunk = data.draw(st.integers(1, n_prompt))
    scores: list[TokenLogprob] = []
    for start in range(0, n_prompt, chunk):
        ids = prompt[start : start + chunk]
        one = Slice(sequence, start, ids, [0], samples=start + len(ids) == n_prompt, n_output=0)
        half = len(ids) // 2
        scores += score_prompt(logits[start : start + half], one)
        scores += score_prompt(logits[start + half : start + len(ids)], one, offset=half)
    wanted = logits.log_softmax(-1)
    assert [one.token_id for one in scores] == list(prompt[1:])
    expected = [wanted[n, token].item() for n, token in enumerate(prompt[1:])]
    assert [one.logprob for one in scores] == pytest.approx(expected, abs=1e-5)
    assert [one.top[0][0] for one in scores] == wanted[:-1].argmax(-1).tolist()
    assert all(len(one.top) == 2 for one in scores)


@given(steps())
def test_a_slice_gets_as_many_tokens_as_it_samples(step: tuple[list[Slice], Tensor]) -> None:
    slices, logits = step
    for one, result in zip(slices, sample(logits, slices), strict=True):
        assert len(result.token_ids) == one.n_sampled
        told = one.n_sampled if one.request.top_logprobs is not None else 0
        assert len(result.logprobs) == told
        if one.request.grammar is not None and one.samples:
            output = one.sequence.token_ids[len(one.request.prompt_token_ids) :]
            assert result.token_ids[0] % 2 == 0
            assert result.token_ids[0] not in output[-1:]


def test_greedy_takes_the_lowest_of_the_likeliest_whatever_else_is_set() -> None:
    logits = torch.zeros(8, 400)
    logits[:, [9, 70, 300]] = 5.0
    slices = [slice_of(sequence_of(Sampling(0.0, top_p=0.3, top_k=2, seed=n))) for n in range(8)]
    assert [one.token_ids for one in sample(logits, slices)] == [(9,)] * 8


def test_a_cut_between_equally_likely_tokens_keeps_the_lowest_ids() -> None:
    logits = torch.zeros(1, 1000)
    for cut in (Sampling(top_k=10), Sampling(top_p=0.01), Sampling(top_k=20, top_p=0.5)):
        drawn = {draw_rows(logits, [cut], [n / 50])[0] for n in range(50)}
        assert drawn == set(range(10))


def test_the_seed_decides_the_draws() -> None:
    def draws(seed: int) -> list[SliceResult]:
        logits = random_logits(400).expand(30, -1)
        slices = [slice_of(sequence_of(Sampling(seed=seed), output=[0] * n)) for n in range(30)]
        return sample(logits, slices)

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
    (result,) = sample(logits, [slice_of(sequence_of(Sampling(1e-4, seed=1)))])
    assert result.token_ids == tuple(logits.argmax(-1).tolist())
    (token,) = draw_batch(logits.float(), [Sampling(1e-4)], [0.5]).tolist()
    assert token == result.token_ids[0]


def test_a_number_next_to_1_draws_a_token_that_may_be_drawn() -> None:
    logits = torch.full((1, row_draw.BLOCK + 3), -torch.inf)
    logits[0, 2] = 0.0
    for cut in (Sampling(), Sampling(top_p=0.9), Sampling(top_k=4), Sampling(min_p=0.1)):
        assert draw_rows(logits, [cut], [1 - 2**-53]) == [2]
