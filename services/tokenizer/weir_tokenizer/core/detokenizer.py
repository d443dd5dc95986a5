"""Ids to text, one at a time, so that the pieces join to the tokenizer's own decoding of the whole.

A token has no text of its own: what it adds depends on what came before. So each step decodes a
small window of ids and takes what is new. The window keeps the ids settled last as context (a
leading space is dropped only at the start of a text), then those that wait. Ids wait while a later
one can change their text:

- a byte-level token may end inside a character: the text then ends in U+FFFD, and just that
  character is open;
- of a run of byte-fallback tokens the decoder makes characters if the *whole* run is UTF-8, else
  one U+FFFD a byte, so the run is open until another token ends it.

What may wait is bounded, so a token costs the same however long the text is. Only past that bound
(a run of `RUN_MAX` byte tokens) may the text differ from the whole decoding: where a later byte
spoils the run, the stream has already passed on its good characters.
"""

from collections.abc import Sequence

from weir_tokenizer.core.tokenizer import Vocabulary

REPLACEMENT = "\ufffd"
RUN_MAX = 48
WAITING_MAX = 32
CUT_IDS = 8
CHARACTER_BYTES_MAX = 4


class Detokenizer:
    """Decodes one growing sequence.

    `context` are the ids before it: decoded with it, not given. They end with a whole character.
    """

    def __init__(
        self, vocabulary: Vocabulary, *, keep_special: bool, context: Sequence[int] = ()
    ) -> None:
        self._vocabulary = vocabulary
        self._keep_special = keep_special
        self._window: list[int] = []
        self._n_context = 0  # ids of the window, from its start, whose text is settled
        self._characters = 0  # characters of the window's text
        self._settled = 0  # of those, the ones that are settled
        self._run = 0  # byte tokens at the window's end
        self._before_run = 0  # characters of the window's text before that run
        self._given = 0
        self._begin_after(context)

    @property
    def characters(self) -> int:
        """Characters from the sequence's start, open ones included."""
        return self._given + self._characters - self._settled

    @property
    def is_settled(self) -> bool:
        """Whether all text is given and none can change."""
        return self._settled == self._characters and not self._run

    def push(self, token_id: int) -> str:
        """Take one id; give the text that it settles, whole characters, perhaps none."""
        if self._vocabulary.is_silent(token_id, keep_special=self._keep_special):
            return ""
        self._window.append(token_id)
        self._count_run(token_id)
        text = self._decode(self._window)
        if self._run and not self._is_ripe(text):
            return self._settle(text, self._before_run)
        ends_open = text.endswith(REPLACEMENT) and not self._run
        new = self._settle(text, len(text) - ends_open)
        if not ends_open:
            self._shorten()
        elif len(self._window) - self._n_context > WAITING_MAX:
            # Byte-level text that has ended in U+FFFD for long: only the last few ids still matter.
            self._keep(self._window[-CUT_IDS:], n_open=1)
        return new

    def flush(self) -> str:
        """The sequence has ended: give what waits as the tokenizer decodes it."""
        text = self._decode(self._window)
        return self._settle(text, len(text))

    def _begin_after(self, context: Sequence[int]) -> None:
        for token_id in context[-WAITING_MAX:]:
            if not self._vocabulary.is_silent(token_id, keep_special=self._keep_special):
                self._window.append(token_id)
                self._count_run(token_id)
        self._settled = self._characters = len(self._decode(self._window))
        self._shorten()

    def _decode(self, ids: Sequence[int]) -> str:
        return self._vocabulary.decode(ids, keep_special=self._keep_special)

    def _count_run(self, token_id: int) -> None:
        if not self._vocabulary.is_byte(token_id):
            self._run = 0
            return
        if not self._run:
            self._before_run = self._characters
        self._run += 1

    def _is_ripe(self, text: str) -> bool:
        """Whether a run must wait no longer: whole characters at its bound, anything soon after.

        A run that is no UTF-8 at four lengths in a row is spoilt: no later byte mends it.
        """
        return self._run >= RUN_MAX + (CHARACTER_BYTES_MAX if text.endswith(REPLACEMENT) else 0)

    def _settle(self, text: str, until: int) -> str:
        new = text[self._settled : until]
        self._characters = len(text)
        self._settled = max(self._settled, until)
        self._given += len(new)
        return new

    def _shorten(self) -> None:
        """All is settled: let go of the old context; what was settled last takes its place."""
        if self._run:
            self._keep(self._last_character())
            return
        window = self._window
        self._keep(window[self._n_context :])
        if not self._characters:
            # Without text it is no context: a space after it would be taken for the text's first.
            self._keep(window[-WAITING_MAX:])

    def _last_character(self) -> list[int]:
        """The end of a byte run that is cut short: whole, so as not to spoil the bytes to come."""
        for n_bytes in range(1, CHARACTER_BYTES_MAX + 1):
            text = self._decode(self._window[-n_bytes:])
            if text and REPLACEMENT not in text:
                return self._window[-n_bytes:]
        return self._window[: -self._run]

    def _keep(self, ids: list[int], *, n_open: int = 0) -> None:
        """Make `ids` the window; the last `n_open` characters of their text are not settled."""
        self._window = ids
        self._n_context = 0 if n_open else len(ids)
        self._characters = len(self._decode(ids))
        self._settled = self._characters - n_open
        self._run = 0
