"""From screened characters back to the tokens that they came from."""

from collections import deque


class Checkpoints:
    """Knows after how many characters of decoded text how many tokens were decoded.

    Tokens count as released once all the text of the message that they came in has been screened:
    what is counted is never more than what went out.
    """

    def __init__(self) -> None:
        self.screened_chars = 0
        self._decoded_chars = 0
        self._released_tokens = 0
        self._waiting: deque[tuple[int, int]] = deque()  # (characters, tokens), both rising

    def add(self, text: str, decoded_tokens: int) -> None:
        """Text was decoded; with it, the first `decoded_tokens` tokens (0: not said) are out."""
        self._decoded_chars += len(text)
        if decoded_tokens:
            self._waiting.append((self._decoded_chars, decoded_tokens))

    def released_tokens(self, screened_chars: int) -> int:
        """Tokens released, now that the first `screened_chars` characters are decided."""
        # A peer's number: never believed to go back, or beyond what it was given.
        self.screened_chars = max(self.screened_chars, min(screened_chars, self._decoded_chars))
        while self._waiting and self._waiting[0][0] <= self.screened_chars:
            self._released_tokens = self._waiting.popleft()[1]
        return self._released_tokens
