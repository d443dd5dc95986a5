"""A call to generate, as it came in, and what may be asked."""

from collections.abc import Iterable
from dataclasses import dataclass

from weir_inference.core.grammar import GrammarSpec
from weir_inference.core.request import Priority
from weir_inference.core.sampling import Sampling
from weir_kit.errors import InvalidArgument

OUTPUTS_MAX = 16
TOP_LOGPROBS_MAX = 20
PROMPT_LOGPROBS_MAX = 1_000_000  # about 12 MB of answer, below the 16 MiB of a message
GRAMMAR_BYTES_MAX = 64 * 1024
CHOICES_MAX = 1024


@dataclass(frozen=True)
class GenerateCall:
    """Ask for `n` outputs. `remaining_s` is the time left to the deadline, None without one."""

    admission_token: str
    request_id: str
    model: str
    prompt_token_ids: tuple[int, ...]
    max_output_tokens: int
    sampling: Sampling
    remaining_s: float | None = None
    n: int = 1
    top_logprobs: int | None = None
    prompt_top_logprobs: int | None = None
    priority: Priority = Priority.NORMAL
    grammar: GrammarSpec | None = None


def check_call(call: GenerateCall, vocab_size: int) -> None:
    """Raises `InvalidArgument`, naming the field at fault."""
    if not call.prompt_token_ids:
        raise InvalidArgument("the prompt needs at least one token", field="prompt_token_ids")
    biased = (token_id for token_id, _ in call.sampling.logit_bias)
    _check_ids(call.prompt_token_ids, vocab_size, "prompt_token_ids")
    _check_ids(biased, vocab_size, "sampling.logit_bias")
    _check_ids(call.sampling.stop_token_ids, vocab_size, "sampling.stop_token_ids")
    if call.max_output_tokens < 1:
        raise InvalidArgument("max_output_tokens must be at least 1", field="max_output_tokens")
    if not 1 <= call.n <= OUTPUTS_MAX:
        raise InvalidArgument(f"n must be between 1 and {OUTPUTS_MAX}", field="n")
    for field in ("top_logprobs", "prompt_top_logprobs"):
        if not 0 <= (getattr(call, field) or 0) <= TOP_LOGPROBS_MAX:
            raise InvalidArgument(f"{field} must be between 0 and {TOP_LOGPROBS_MAX}", field=field)
    n_told = len(call.prompt_token_ids) * (1 + (call.prompt_top_logprobs or 0))
    if call.prompt_top_logprobs is not None and n_told > PROMPT_LOGPROBS_MAX:
        raise InvalidArgument(
            f"a prompt has at most {PROMPT_LOGPROBS_MAX} log-probabilities told: ask for fewer",
            field="prompt_top_logprobs",
        )
    if call.grammar is not None:
        _check_grammar(call.grammar)


def _check_ids(token_ids: Iterable[int], vocab_size: int, field: str) -> None:
    if max(token_ids, default=0) >= vocab_size:
        raise InvalidArgument(
            f"every token id must be below the vocabulary's {vocab_size}", field=field
        )


def _check_grammar(grammar: GrammarSpec) -> None:
    field = f"sampling.grammar.{grammar.kind}"
    if not 1 <= len(grammar.texts) <= CHOICES_MAX:
        raise InvalidArgument(f"between 1 and {CHOICES_MAX} choices can be given", field=field)
    if sum(len(text.encode()) for text in grammar.texts) > GRAMMAR_BYTES_MAX:
        raise InvalidArgument(
            f"a grammar may have at most {GRAMMAR_BYTES_MAX} bytes of text", field=field
        )
