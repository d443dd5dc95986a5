"""Guesses follow what the text said before, and never change what is said."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from weir_inference.core.prompt_lookup import (
    INDEXED_TOKENS,
    LONG,
    PAUSE_TOKENS,
    SHORT,
    TRIAL_TOKENS,
    PromptLookup,
)
from weir_inference.core.request import Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.scheduler import Limits, Scheduler
from weir_inference.core.step_plan import SliceResult


def looked_up(token_ids: list[int], n_max: int) -> list[int]:
    """The rule, said plainly: what followed the latest earlier place of the last tokens."""
    for n in (LONG, SHORT):
        for at in range(len(token_ids) - 1, n - 1, -1):
            if token_ids[at - n : at] == token_ids[-n:]:
                draft = token_ids[at : at + n_max]
                while len(draft) < n_max:
                    draft.append((token_ids + draft)[at + len(draft)])
                return draft
    return []


@given(st.lists(st.integers(0, 3), min_size=LONG + 1, max_size=60), st.integers(1, 6), st.data())
def test_a_growing_text_is_looked_up_as_the_rule_says(
    token_ids: list[int], n_max: int, data: st.DataObject
) -> None:
    lookup = PromptLookup()
    ends = data.draw(st.lists(st.integers(LONG + 1, len(token_ids)), min_size=1).map(sorted))
    for end in ends:
        assert lookup.propose(token_ids[:end], n_max) == looked_up(token_ids[:end], n_max)


def test_poor_guesses_make_a_pause() -> None:
    lookup, token_ids = PromptLookup(), [5, 6] * 10
    lookup.learn(len(token_ids), TRIAL_TOKENS, 1)
    assert lookup.propose(token_ids, 4) == []
    assert lookup.propose([5, 6] * (10 + PAUSE_TOKENS // 2), 4) == [5, 6, 5, 6]
    lookup.learn(len(token_ids), TRIAL_TOKENS, TRIAL_TOKENS // 2)
    assert lookup.propose(token_ids + [5, 6] * PAUSE_TOKENS, 4)


def test_the_index_is_bounded_and_new_text_is_taken_in_once() -> None:
    lookup, token_ids = PromptLookup(), list(range(3 * INDEXED_TOKENS))
    for _ in range(3 * INDEXED_TOKENS):
        token_ids.append(len(token_ids))
        lookup.propose(token_ids, 4)
        assert len(lookup._after_long) <= INDEXED_TOKENS + 1 + 1


def model(token_ids: list[int]) -> int:
    """A text that often repeats itself; the next token follows from all before."""
    digest = hashlib.blake2b(bytes(token_ids[-6:]), digest_size=2).digest()
    return token_ids[-5] if digest[0] < 200 else 3 + digest[1] % 3


@given(
    st.lists(st.lists(st.integers(3, 5), min_size=6, max_size=20), min_size=1, max_size=3),
    st.integers(1, 5),
)
def test_the_output_with_guesses_is_the_one_without(
    prompts: list[list[int]], draft_tokens: int
) -> None:
    outputs, steps = [], []
    for n_drafts in (0, draft_tokens):
        it = Scheduler(Limits(12, 4, 48, 3, 3, 8, draft_tokens=n_drafts), [])
        added = [
            it.add(Request(str(i), tuple(prompt), 28, Sampling(seed=0)), 0.0)
            for i, prompt in enumerate(prompts)
        ]
        n_steps = 0
        while it.running or it.waiting:
            plan = it.plan(0.0)
            results = []
            for one in plan.slices:
                known = [*one.sequence.token_ids[: one.start], *one.token_ids]
                ends = range(one.end - one.n_sampled + 1, one.end + 1)
                results.append(SliceResult(tuple(model(known[:end]) for end in ends)))
            it.commit(plan, results, 0.0)
            n_steps += 1
        outputs.append([one.token_ids for one in added])
        steps.append(n_steps)
    assert outputs[0] == outputs[1]
