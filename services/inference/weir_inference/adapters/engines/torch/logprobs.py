"""How likely tokens were, by the model's own distribution."""

from collections.abc import Sequence

import torch
from torch import Tensor

from weir_inference.core.step_plan import Slice
from weir_inference.core.token_logprob import TokenLogprob

ROWS = 16  # at once: a prompt's log-probabilities would take gigabytes


def tell(logits: Tensor, token_ids: Sequence[int], n_top: Sequence[int]) -> list[TokenLogprob]:
    """The log-probability of a token for each row, and those of the row's likeliest `n_top`.

    `logits`: [rows, vocab], as the model gave them.
    """
    told: list[TokenLogprob] = []
    for start in range(0, len(token_ids), ROWS):
        rows = slice(start, start + ROWS)
        told += _tell(logits[rows].float(), token_ids[rows], n_top[rows])
    return told


@torch.inference_mode()
def score_prompt(logits: Tensor, one: Slice, offset: int = 0) -> tuple[TokenLogprob, ...]:
    """The log-probabilities of the prompt tokens that follow those of a slice.

    `logits`: [n, vocab] fp32 or bf16, after the slice's tokens `offset`, `offset + 1`, …. Rows
    that no prompt token follows tell nothing.
    """
    first = one.start + offset + 1
    following = one.request.prompt_token_ids[first : first + logits.shape[0]]
    n_top = one.request.prompt_top_logprobs or 0
    return tuple(tell(logits[: len(following)], following, [n_top] * len(following)))


def _tell(logits: Tensor, token_ids: Sequence[int], n_top: Sequence[int]) -> list[TokenLogprob]:
    ids = torch.tensor(token_ids, device=logits.device).unsqueeze(1)
    total = logits.logsumexp(-1, keepdim=True)
    chosen = (logits.gather(1, ids) - total).squeeze(1).tolist()
    values, tops = logits.topk(min(max(n_top), logits.shape[1]), dim=-1)
    ranked = zip((values - total).tolist(), tops.tolist(), strict=True)
    return [
        TokenLogprob(token_id, logprob, tuple(zip(top_ids[:n], top_logprobs[:n], strict=True)))
        for token_id, logprob, (top_logprobs, top_ids), n in zip(
            token_ids, chosen, ranked, n_top, strict=True
        )
    ]
