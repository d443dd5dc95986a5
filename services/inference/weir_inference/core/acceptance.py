"""What a sequence makes of a step's result."""

from weir_inference.core.request import EndReason
from weir_inference.core.sequence import Sequence
from weir_inference.core.step_plan import Slice, SliceResult
from weir_inference.core.token_logprob import TokenLogprob


def accept_tokens(one: Slice, result: SliceResult) -> EndReason | None:
    """Append the chosen tokens that count, and say whether the sequence ends with them.

    The first counts always. Each further one was chosen after a guess, and counts as long as all
    guesses before it were the tokens chosen: then it is what a step without guesses would choose.
    A token that ends the sequence is not appended. What its grammar cuts off is no whole text: it
    ends as one that is too long.
    """
    sequence, chosen = one.sequence, result.token_ids
    n_valid, n_drafted = 1, one.n_draft
    if n_drafted:
        drafts = one.token_ids[-n_drafted:]
        while n_valid <= n_drafted and drafts[n_valid - 1] == chosen[n_valid - 1]:
            n_valid += 1
        sequence.lookup.learn(len(sequence.token_ids) + n_valid, n_drafted, n_valid - 1)
    reason = None
    known, n_max = sequence.token_ids, sequence.n_prompt + sequence.request.max_output_tokens
    n_before = len(known)
    for n, token_id in enumerate(chosen[:n_valid]):
        if n == result.cut_at:
            reason = EndReason.LENGTH
            break
        if token_id in sequence.stop_token_ids:
            reason = EndReason.STOP
            break
        known.append(token_id)
        if len(known) == n_max:
            reason = EndReason.LENGTH
            break
    # Of wrong guesses, keys and values were computed too: the next step writes over them.
    sequence.n_computed = min(n_before + n_valid - 1, len(known))
    return reason


def accept_scores(sequence: Sequence, result: SliceResult) -> tuple[TokenLogprob, ...] | None:
    """All of the prompt's log-probabilities with the slice that completes them, once; else None."""
    if sequence.prompt_scored:
        return None
    sequence.prompt_logprobs.extend(result.prompt_logprobs)
    if sequence.n_computed < sequence.n_prompt - 1:
        return None
    scores = tuple(sequence.prompt_logprobs)
    sequence.prompt_scored, sequence.prompt_logprobs = True, []
    return scores
