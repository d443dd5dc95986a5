"""What may be told of tokens: never of text that the screen withheld or replaced."""

from collections import deque

from weir_gateway.core.logprob import TokenLogprob


class Unaltered:
    """Holds back what is told of an output's tokens until their text is released as it was made.

    Where released text first differs from the decoded, telling ends for the output: what waits is
    dropped, and nothing follows.
    """

    def __init__(self) -> None:
        self._altered = False
        self._text = ""  # decoded, not yet decided
        self._decoded_chars = 0
        self._waiting: deque[tuple[int, tuple[TokenLogprob, ...]]] = deque()  # by end of text

    def add(self, text: str, logprobs: tuple[TokenLogprob, ...]) -> None:
        """Text was decoded; with it, all text of these tokens is out."""
        self._text += text
        self._decoded_chars += len(text)
        if logprobs and not self._altered:
            self._waiting.append((self._decoded_chars, logprobs))

    def release(self, text: str, screened_chars: int) -> tuple[TokenLogprob, ...]:
        """`text` goes out for all up to the first `screened_chars`: what is told with it."""
        n_decided = screened_chars - (self._decoded_chars - len(self._text))
        decided, self._text = self._text[:n_decided], self._text[n_decided:]
        if text != decided:
            self._altered = True
            self._waiting.clear()
        told: list[TokenLogprob] = []
        while self._waiting and self._waiting[0][0] <= screened_chars:
            told.extend(self._waiting.popleft()[1])
        return tuple(told)
