"""Server-sent events out of bytes (https://html.spec.whatwg.org/multipage/server-sent-events.html).

Stricter than a browser: what is no UTF-8 or too long is refused.
"""

import re
from collections.abc import Iterator

from weir_inference.adapters.engines.openai.bad_answer import BadAnswer

LINE_END = re.compile(rb"\r\n|\r|\n")
BOM = b"\xef\xbb\xbf"


class EventLines:
    """Takes bytes as they come, cut anywhere; gives the data of each event that is whole.

    `event_bytes_max` bounds an event, and so each of its lines.
    """

    def __init__(self, event_bytes_max: int) -> None:
        self._event_bytes_max = event_bytes_max
        self._rest = bytearray()  # a line whose end has not come
        self._after_cr = False  # of an end CR LF, the first half has come
        self._at_start = True
        self._data: list[str] = []
        self._event_bytes = 0

    def feed(self, chunk: bytes) -> list[str]:
        """The data of the events that are whole now. Raises `BadAnswer`."""
        found = []
        for line in self._lines(chunk):
            self._check_size(len(line))
            self._event_bytes += len(line)
            if line:
                self._take(line)
                continue
            if self._data:
                found.append("\n".join(self._data))
            self._data, self._event_bytes = [], 0
        self._check_size(len(self._rest))
        return found

    def _lines(self, chunk: bytes) -> Iterator[bytes]:
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        start = 0
        for end in LINE_END.finditer(chunk):
            line = bytes(self._rest) + chunk[start : end.start()]
            self._rest.clear()
            start = end.end()
            self._after_cr = end[0] == b"\r" and start == len(chunk)
            yield line.removeprefix(BOM) if self._at_start else line
            self._at_start = False
        self._rest += chunk[start:]

    def _take(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if field != b"data":  # a comment, or a field that says nothing here
            return
        try:
            self._data.append(value.removeprefix(b" ").decode())
        except UnicodeDecodeError:
            raise BadAnswer("an event is not UTF-8") from None

    def _check_size(self, n_more: int) -> None:
        if self._event_bytes + n_more > self._event_bytes_max:
            raise BadAnswer(f"an event is larger than {self._event_bytes_max} bytes")
