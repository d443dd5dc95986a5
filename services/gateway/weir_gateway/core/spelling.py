"""From scored token ids to their texts, and the places of these in the output's text."""

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

from weir_gateway.core.logprob import Scored, TokenLogprob

TokenTexts = Callable[[Collection[int]], Awaitable[Mapping[int, str]]]
# Characters that a token may have in the text where its own text is not found there.
CHARS_A_MISS = 4


class Spelling:
    """Spells the tokens of one output, each when all its text is out."""

    def __init__(self, token_texts: TokenTexts) -> None:
        self._token_texts = token_texts
        self._waiting: deque[Scored] = deque()
        self._text = ""  # from `_base` on: where the next token's text begins
        self._base = 0

    def add(self, scored: Iterable[Scored]) -> None:
        """More tokens."""
        self._waiting.extend(scored)

    async def spell(self, text: str, n_tokens: int) -> tuple[TokenLogprob, ...]:
        """The next `n_tokens`, if they were scored: all their text is out with `text`, the newest.

        A token's text is looked for where the last one's ended. It may not be there: the parts of
        a character are not, nor are special tokens, nor the blank that some tokenizers put first.
        """
        self._text += text
        scored = [self._waiting.popleft() for _ in range(min(n_tokens, len(self._waiting)))]
        if not scored:
            if not self._waiting:
                self._take(len(self._text))
            return ()
        ids = {one.token_id for one in scored} | {top for one in scored for top, _ in one.top}
        texts = await self._token_texts(ids)
        tokens, at, misses = [], 0, 0
        for one in scored:
            spelled = texts[one.token_id]
            found = self._text.find(spelled, at, at + len(spelled) + CHARS_A_MISS * misses)
            bare = spelled.lstrip()
            if found >= 0:
                at, end, misses = found, found + len(spelled), 0
            elif bare and self._text.startswith(bare, at):
                end, misses = at + len(bare), 0
            else:
                end, misses = at, misses + 1
            top = tuple((texts[token_id], logprob) for token_id, logprob in one.top)
            tokens.append(TokenLogprob(spelled, one.logprob, top, self._base + at))
            at = end
        # Beyond may be the first part of tokens that wait.
        self._take(at if self._waiting else len(self._text))
        return tuple(tokens)

    def _take(self, n_chars: int) -> None:
        self._text = self._text[n_chars:]
        self._base += n_chars
