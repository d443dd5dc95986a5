"""What the chunks of one answer amount to, in tokens."""

from collections.abc import Sequence

from weir_inference.adapters.engines.openai.bad_answer import BadAnswer
from weir_inference.adapters.engines.openai.chunk import Chunk, ReportedUsage, UpstreamError
from weir_inference.adapters.engines.openai.spelling import TAIL_IDS, Spelling
from weir_inference.core.engine import Delta
from weir_inference.core.request import EndReason, Request
from weir_inference.core.token_logprob import TokenLogprob
from weir_kit.errors import ContentBlocked, InvalidArgument, QueueFull, Unavailable, WeirError

HELD_CHARS_MAX = 32  # of a word
REASONS = {"stop": EndReason.STOP, "length": EndReason.LENGTH}


class Completion:
    """Takes chunks in turn. `reason` is set by the last one with tokens, `usage` perhaps later.

    Never gives more tokens than were asked for: a longer answer is `cut`.
    """

    def __init__(self, request: Request, spelling: Spelling) -> None:
        self.reason: EndReason | None = None
        self.usage: ReportedUsage | None = None
        self.output_tokens = 0
        self.cut = False
        self._request = request
        self._spelling = spelling
        self._tail = list(request.prompt_token_ids[-TAIL_IDS:])
        self._held = ""

    def take(self, chunk: Chunk) -> Delta | None:
        """The new tokens, if any. Raises `BadAnswer`, and the WeirError that the chunk tells."""
        if chunk.error is not None:
            raise _told(chunk.error)
        self.usage = chunk.usage or self.usage
        if self.reason is not None:
            return None
        self.reason = _reason(chunk.finish_reason)
        token_ids = self._token_ids(chunk)
        logprobs = self._logprobs(chunk, len(token_ids))
        n_kept = self._n_kept(token_ids)
        if not n_kept:
            return None
        self.output_tokens += n_kept
        self._tail = [*self._tail, *token_ids[:n_kept]][-TAIL_IDS:]
        return Delta(tuple(token_ids[:n_kept]), logprobs[:n_kept])

    def _token_ids(self, chunk: Chunk) -> Sequence[int]:
        if chunk.token_ids is None:
            return self._spelling.ids_of(self._words(chunk.text), self._tail)
        if max(chunk.token_ids, default=0) >= self._spelling.vocab_size:
            raise BadAnswer("a token id is not in the vocabulary of the model's tokenizer.json")
        return chunk.token_ids

    def _words(self, text: str) -> str:
        """Text up to a word's start: pieces need not end where tokens do, words are spelt alike.

        The rest comes with what follows it.
        """
        text = self._held + text
        at = len(text)
        if self.reason is None:
            at = max(text.rfind(blank) for blank in (" ", "\n"))
            at = max(at, len(text) - HELD_CHARS_MAX, 0)
        self._held = text[at:]
        return text[:at]

    def _logprobs(self, chunk: Chunk, n_tokens: int) -> tuple[TokenLogprob, ...]:
        n_top = self._request.top_logprobs
        if n_top is None or not n_tokens:
            return ()
        if chunk.logprobs is None:
            raise InvalidArgument(
                "the upstream of this model gives no log-probabilities by token id",
                field="top_logprobs",
            )
        if [one.token_id for one in chunk.logprobs] != list(chunk.token_ids or ()):
            raise BadAnswer("log-probabilities are not those of the tokens")
        return tuple(
            TokenLogprob(one.token_id, one.logprob, one.top[:n_top]) for one in chunk.logprobs
        )

    def _n_kept(self, token_ids: Sequence[int]) -> int:
        """Without the token that ends the output, which vLLM gives and Weir does not count."""
        n_kept = len(token_ids)
        if self.reason is EndReason.STOP and n_kept and self._ends(token_ids[-1]):
            n_kept -= 1
        n_left = self._request.max_output_tokens - self.output_tokens
        if n_kept > n_left:
            self.cut, self.reason = True, EndReason.LENGTH
        return min(n_kept, n_left)

    def _ends(self, token_id: int) -> bool:
        return token_id in self._request.sampling.stop_token_ids or self._spelling.is_special(
            token_id
        )


def _reason(told: str | None) -> EndReason | None:
    if told is None:
        return None
    if told == "content_filter":
        raise ContentBlocked("the upstream's content filter ended the output")
    if told not in REASONS:
        raise BadAnswer("an output ends for a reason that is not known")
    return REASONS[told]


def _told(error: UpstreamError) -> WeirError:
    """Nothing of what it says is passed on: it may hold the prompt."""
    if error.status == 429:
        return QueueFull("the upstream is busy", retry_after_s=1.0)
    if error.status in (400, 422):
        return InvalidArgument("the upstream refuses this request")
    return Unavailable("the upstream of this model failed while it answered", retry_after_s=1.0)
