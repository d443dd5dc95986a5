"""Prompt look-up on a text that repeats itself and on one that does not: tokens a second."""

import statistics
from argparse import Namespace

from tokenizers import Tokenizer

from engine.metrics import Metric
from engine.paths import WEIR_TALES
from engine.weir import ask, open_engine, request
from weir_inference.adapters.engines.torch.torch_engine import TorchSettings
from weir_inference.core.engine_loop import EngineLoop

N_OUTPUT = 192
N_ROUNDS = 7
SENTENCE = "The little dog ran to the gate, and the cat ran after him, and the hen after the cat. "
TEXTS = {
    "repetitive": SENTENCE * 6,
    "tale": "There was once a king who had three sons, and the youngest of them was called Hans.",
}


async def measure(options: Namespace) -> list[Metric]:
    """`speculation/weir-tales/TEXT`: with drafts, beside without; both engines take turns.

    Decoding is greedy, so that both must say the same.
    """
    tokenizer = Tokenizer.from_file(str(WEIR_TALES / "tokenizer.json"))
    n_draft = options.wishes.get("draft_tokens") or TorchSettings().draft_tokens
    n_rounds = max(3, round(N_ROUNDS * options.scale))
    metrics = []
    async with (
        open_engine(WEIR_TALES, **(options.wishes | {"draft_tokens": n_draft})) as drafting,
        open_engine(WEIR_TALES, **(options.wishes | {"draft_tokens": 0})) as plain,
    ):
        for name, text in TEXTS.items():
            prompt = tokenizer.encode(text).ids
            before = drafting.load()
            rounds = [
                (await tok_s(drafting, prompt), await tok_s(plain, prompt)) for _ in range(n_rounds)
            ][1:]  # the first is the warm-up
            load = drafting.load()
            drafted = load.draft_tokens - before.draft_tokens
            accepted = load.accepted_draft_tokens - before.accepted_draft_tokens
            (with_s, with_ids), (without_s, without_ids) = (
                (statistics.median(one[0] for one in column), column[0][1])
                for column in zip(*rounds, strict=True)
            )
            ratio = statistics.median(one[0] / other[0] for one, other in rounds)
            same = "the same tokens" if with_ids == without_ids else "OTHER TOKENS than without"
            note = (
                f"up to {n_draft} drafts a step, {accepted} of {drafted} accepted, {same}; "
                f"{len(prompt)} in, {N_OUTPUT} out, batch 1"
            )
            at = f"speculation/weir-tales/{name}"
            metrics.append(Metric(at, with_s, "tok/s", without_s, ratio, note))
    return metrics


async def tok_s(engine: EngineLoop, prompt: list[int]) -> tuple[float, list[int]]:
    """Output tokens a second, prefill included, and the tokens."""
    answer = await ask(engine, request(prompt, N_OUTPUT))
    return len(answer.token_ids) / (answer.arrived_s[-1] - answer.asked_s), answer.token_ids
