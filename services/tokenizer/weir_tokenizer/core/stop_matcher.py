"""Stop strings in a text that arrives in pieces, by an automaton (Aho and Corasick, 1975).

The depth of the automaton's state is the length of the longest end of the text that begins a stop
string: exactly what must be held back, at a constant cost per character.
"""

from collections import deque
from collections.abc import Sequence


class StopMatcher:
    """Passes text on until the first stop string, as if it had searched the whole text at once.

    The stop string that *begins* first wins; of two that begin together, the shorter. So after
    "abc" with the stops "bc" and "abcd" it waits for a character more: "abcd" would begin earlier.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        assert all(stops), "an empty stop string matches everywhere"
        self._next: list[dict[str, int]] = [{}]
        self._depth = [0]
        self._longest: list[str] = [""]  # per state: the longest stop string that ends there
        self._fallback = [0]
        for stop in stops:
            self._add(stop)
        self._link()
        self._state = 0
        self._held = ""
        self._released = 0  # characters given in all: where `held` begins
        self._end = 0  # characters stepped through in all
        self._found: tuple[int, str] | None = None  # where the best match so far begins, and which
        self.stop: str | None = None

    def push(self, text: str) -> str:
        """Take more text; give what no stop string can reach any more. After `stop`, nothing."""
        if self.stop is not None:
            return ""
        if len(self._next) == 1:
            return text
        self._held += text
        for character in text:
            self._step(character)
            if self._found and self._open_from() >= self._found[0]:
                return self._finish_at(self._found)
        # While a match waits for one that may begin earlier, that beginning is what is open.
        return self._release(self._open_from())

    def finish(self) -> str:
        """The text has ended: give what was held back, up to a match that waited."""
        if self.stop is not None:
            return ""
        return self._finish_at(self._found) if self._found else self._release(self._end)

    def _step(self, character: str) -> None:
        state = self._state
        while state and character not in self._next[state]:
            state = self._fallback[state]
        self._state = self._next[state].get(character, 0)
        self._end += 1
        if longest := self._longest[self._state]:
            start = self._end - len(longest)
            if self._found is None or start < self._found[0]:
                self._found = (start, longest)

    def _open_from(self) -> int:
        """Where the longest end of the text begins that is the beginning of a stop string."""
        return self._end - self._depth[self._state]

    def _release(self, until: int) -> str:
        count = until - self._released
        released, self._held = self._held[:count], self._held[count:]
        self._released = until
        return released

    def _finish_at(self, found: tuple[int, str]) -> str:
        start, self.stop = found
        released = self._release(start)
        self._held = ""
        return released

    def _add(self, stop: str) -> None:
        state = 0
        for character in stop:
            if character not in self._next[state]:
                self._next[state][character] = len(self._next)
                self._next.append({})
                self._depth.append(self._depth[state] + 1)
                self._longest.append("")
                self._fallback.append(0)
            state = self._next[state][character]
        self._longest[state] = stop

    def _link(self) -> None:
        queue = deque(self._next[0].values())
        while queue:
            state = queue.popleft()
            for character, child in self._next[state].items():
                fallback = self._fallback[state]
                while fallback and character not in self._next[fallback]:
                    fallback = self._fallback[fallback]
                self._fallback[child] = self._next[fallback].get(character, 0)
                self._longest[child] = self._longest[child] or self._longest[self._fallback[child]]
                queue.append(child)
