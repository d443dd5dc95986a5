"""What a call may look like, checked before any peer is asked."""

import re

from weir_gateway.core.call import Call, Input, Prompt
from weir_gateway.core.sampling import Grammar, GrammarKind, Sampling
from weir_kit.errors import InvalidArgument

INT32_MAX = 2**31 - 1
UINT32_MAX = 2**32 - 1
UINT64_MAX = 2**64 - 1
MODEL_CHARS_MAX = 256
MESSAGES_MAX = 1024
INPUT_BYTES_MAX = 1 << 20  # in UTF-8
STOP_STRINGS_MAX = 16
STOP_CHARS_MAX = 256
OUTPUTS_MAX = 16
TOP_LOGPROBS_MAX = 20
TOLD_LOGPROBS_MAX = 1 << 18  # in one answer, which is whole in memory: some 30 MB
LOGIT_BIAS_MAX = 1024
STOP_TOKENS_MAX = 64
CHOICES_MAX = 1024
GRAMMAR_BYTES_MAX = 1 << 16
ROLES = ("system", "user", "assistant")
REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,63}")
MODEL = re.compile(rf"[^\s\x00-\x1f\x7f]{{1,{MODEL_CHARS_MAX}}}")


def check(call: Call) -> None:
    """Raise `InvalidArgument` for the first field that is wrong.

    Field names are core's (`max_output_tokens`, `messages[0].role`); wires may have their own.
    """
    check_request_id(call.request_id)
    check_model(call.model)
    check_input(call.input)
    check_sampling(call.sampling)
    _within("n", call.n, 1, OUTPUTS_MAX)
    if call.max_output_tokens is not None:
        # Nothing but the prompt is worth asking for only if the prompt is told of.
        alone = call.echo and call.n == 1
        _within("max_output_tokens", call.max_output_tokens, 0 if alone else 1, INT32_MAX)
    if call.top_logprobs is not None:
        _within("top_logprobs", call.top_logprobs, 0, TOP_LOGPROBS_MAX)
    if call.echo and not isinstance(call.input, str):
        raise InvalidArgument("echo is only for a plain prompt", field="echo")
    _check_stop(call.stop)


def check_told(call: Call, prompt: Prompt) -> None:
    """Raise `InvalidArgument` if the answer may have too many log-probabilities."""
    if call.top_logprobs is None:
        return
    n_tokens = call.n * prompt.max_output_tokens
    if call.echo:
        n_tokens += call.n * len(prompt.token_ids)
    if n_tokens * (1 + call.top_logprobs) > TOLD_LOGPROBS_MAX:
        raise InvalidArgument(
            f"an answer has at most {TOLD_LOGPROBS_MAX} log-probabilities: ask for fewer of them, "
            "fewer tokens or fewer outputs",
            field="top_logprobs",
        )


def check_request_id(request_id: str) -> None:
    """A request's id is short and plain."""
    if not REQUEST_ID.fullmatch(request_id):
        raise InvalidArgument(
            "request_id must be 1 to 64 letters, digits, - and _, beginning with a letter or digit",
            field="request_id",
        )


def check_model(model: str) -> None:
    """A model's name has no blanks."""
    if not MODEL.fullmatch(model):
        raise InvalidArgument("model must name a model; list them to see which", field="model")


def check_input(text: Input) -> None:
    """A conversation has known roles and at least one message; a prompt is not empty."""
    if isinstance(text, str):
        if not text:
            raise InvalidArgument("prompt must not be empty", field="prompt")
        if _bytes_of(text) > INPUT_BYTES_MAX:
            raise InvalidArgument(f"prompt has more than {INPUT_BYTES_MAX} bytes", field="prompt")
        return
    if not 1 <= len(text) <= MESSAGES_MAX:
        raise InvalidArgument(f"messages must have 1 to {MESSAGES_MAX} messages", field="messages")
    for place, message in enumerate(text):
        if message.role not in ROLES:
            raise InvalidArgument(
                f"messages[{place}].role must be one of {', '.join(ROLES)}",
                field=f"messages[{place}].role",
            )
    if sum(_bytes_of(message.content) for message in text) > INPUT_BYTES_MAX:
        raise InvalidArgument(
            f"messages have more than {INPUT_BYTES_MAX} bytes together", field="messages"
        )


def input_field(text: Input) -> str:
    """What the input's field is called: `prompt` or `messages`."""
    return "prompt" if isinstance(text, str) else "messages"


def check_sampling(sampling: Sampling) -> None:
    """Ranges; comparisons are written so that NaN fails them."""
    for field, value, low, high in (
        ("temperature", sampling.temperature, 0, 2),
        ("top_k", sampling.top_k, 0, INT32_MAX),
        ("min_p", sampling.min_p, 0, 1),
        ("seed", sampling.seed, 0, UINT64_MAX),
        ("presence_penalty", sampling.presence_penalty, -2, 2),
        ("frequency_penalty", sampling.frequency_penalty, -2, 2),
    ):
        if value is not None:
            _within(field, value, low, high)
    for field, value, high in (
        ("top_p", sampling.top_p, 1),
        ("repetition_penalty", sampling.repetition_penalty, 2),
    ):
        if value is not None and not 0 < value <= high:
            raise InvalidArgument(f"{field} must be more than 0 and at most {high}", field=field)
    _check_logit_bias(sampling.logit_bias)
    _at_most("stop_token_ids", len(sampling.stop_token_ids), STOP_TOKENS_MAX, "tokens")
    for token_id in sampling.stop_token_ids:
        _within("stop_token_ids", token_id, 0, UINT32_MAX)
    if sampling.grammar is not None:
        _check_grammar(sampling.grammar)


def _check_logit_bias(logit_bias: tuple[tuple[int, float], ...]) -> None:
    _at_most("logit_bias", len(logit_bias), LOGIT_BIAS_MAX, "tokens")
    for token_id, bias in logit_bias:
        _within("logit_bias", token_id, 0, UINT32_MAX)
        _within("logit_bias", bias, -100, 100)


def _check_grammar(grammar: Grammar) -> None:
    """Bounds alone; whether it is a grammar, the engine knows."""
    if not grammar.texts or not all(grammar.texts):
        raise InvalidArgument("grammar must not be empty", field="grammar")
    n_texts_max = CHOICES_MAX if grammar.kind is GrammarKind.CHOICES else 1
    _at_most("grammar", len(grammar.texts), n_texts_max, "texts")
    _at_most("grammar", sum(map(_bytes_of, grammar.texts)), GRAMMAR_BYTES_MAX, "bytes")


def _check_stop(stop: tuple[str, ...]) -> None:
    _at_most("stop", len(stop), STOP_STRINGS_MAX, "strings")
    if not all(1 <= len(text) <= STOP_CHARS_MAX for text in stop):
        raise InvalidArgument(
            f"each stop string must have 1 to {STOP_CHARS_MAX} characters", field="stop"
        )


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _within(field: str, value: float, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidArgument(f"{field} must be between {low} and {high}", field=field)


def _at_most(field: str, n: int, n_max: int, what: str) -> None:
    if n > n_max:
        raise InvalidArgument(f"{field} must have at most {n_max} {what}", field=field)
