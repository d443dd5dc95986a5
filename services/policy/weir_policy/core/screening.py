"""One text screened as a service does it: bounded, and fair to other requests."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from weir_kit.errors import InvalidArgument
from weir_policy.core.finding import Where
from weir_policy.core.rules import Rule
from weir_policy.core.screen import Released, Screen

TEXT_CHARS_MAX = 1 << 20  # in one message
STREAM_CHARS_MAX = 1 << 26
# Long texts are screened in slices, so that other requests are served in between.
SLICE_CHARS = 16 * 1024


class Screening:
    """Screens one text that comes in messages."""

    def __init__(self, rules: Sequence[Rule], where: Where = Where.OUTPUT) -> None:
        self._screen = Screen(rules, where)
        self._chars = 0

    async def push(self, text: str) -> Released:
        """Take a message's text. Raises `InvalidArgument` if there is too much of it."""
        self._chars += len(text)
        if len(text) > TEXT_CHARS_MAX or self._chars > STREAM_CHARS_MAX:
            raise InvalidArgument(
                f"text must have at most {TEXT_CHARS_MAX} characters in a message, "
                f"{STREAM_CHARS_MAX} in a stream",
                field="text",
            )
        released = self._screen.push(text[:SLICE_CHARS])
        for at in range(SLICE_CHARS, len(text), SLICE_CHARS):
            await asyncio.sleep(0)
            released = joined(released, self._screen.push(text[at : at + SLICE_CHARS]))
        return released

    def finish(self) -> Released:
        """The text is whole."""
        return self._screen.finish()


def joined(first: Released, then: Released) -> Released:
    """What two calls in a row let out, as one."""
    return replace(then, text=first.text + then.text, findings=first.findings + then.findings)
