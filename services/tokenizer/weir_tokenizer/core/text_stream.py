"""The decoding of one generated sequence: ids in, text out that is safe to pass on."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from weir_tokenizer.core.detokenizer import Detokenizer
from weir_tokenizer.core.stop_matcher import StopMatcher
from weir_tokenizer.core.tokenizer import Vocabulary


@dataclass(frozen=True)
class StreamOptions:
    """Stop strings, whether special tokens show, and the last ids before the sequence."""

    stops: Sequence[str] = ()
    keep_special: bool = False
    prompt_tail: Sequence[int] = ()


@dataclass(frozen=True)
class Piece:
    """New text; how many tokens, from the first, are given in full by now; the stop once met."""

    text: str
    decoded_tokens: int
    stop: str | None = None


class TextStream:
    """Detokenizer and stop matcher in a row, and the count of tokens that are through both."""

    def __init__(self, vocabulary: Vocabulary, options: StreamOptions) -> None:
        self._detokenizer = Detokenizer(
            vocabulary, keep_special=options.keep_special, context=options.prompt_tail
        )
        self._matcher = StopMatcher(options.stops)
        self._ends: deque[int] = deque()  # where the text of each token ends that is not yet given
        self._n_open = 0  # of those, from the last: how many may end earlier than noted
        self._given = 0
        self._decoded_tokens = 0

    def push(self, ids: Sequence[int]) -> Piece:
        """Take the ids that are pending. After a stop string, more ids change nothing."""
        if self._matcher.stop is not None:
            return self._piece("")
        settled = [self._settle(token_id) for token_id in ids]
        return self._piece(self._matcher.push("".join(settled)))

    def finish(self) -> Piece:
        """The sequence has ended: give what was held back."""
        if self._matcher.stop is not None:
            return self._piece("")
        text = self._matcher.push(self._detokenizer.flush())
        piece = self._piece(text + self._matcher.finish())
        if piece.stop is None:
            self._decoded_tokens += len(self._ends)
            self._ends.clear()
        return Piece(piece.text, self._decoded_tokens, piece.stop)

    def _settle(self, token_id: int) -> str:
        text = self._detokenizer.push(token_id)
        end = self._detokenizer.characters
        self._ends.append(end)
        self._n_open += 1
        if self._detokenizer.is_settled:
            # Bytes of an unfinished run count as a character each until the run is read as a whole.
            for index in range(1, min(self._n_open, len(self._ends)) + 1):
                self._ends[-index] = min(self._ends[-index], end)
            self._n_open = 0
        return text

    def _piece(self, text: str) -> Piece:
        self._given += len(text)
        while self._ends and self._ends[0] <= self._given:
            self._ends.popleft()
            self._decoded_tokens += 1
        return Piece(text, self._decoded_tokens, self._matcher.stop)
