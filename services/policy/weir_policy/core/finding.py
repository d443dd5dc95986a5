"""What a rule found, and what is done about it."""

from dataclasses import dataclass, replace
from enum import Enum


class Action(Enum):
    """What is done about a finding."""

    REDACT = "redact"
    BLOCK = "block"


class Where(Enum):
    """Which text a rule looks at."""

    INPUT = "input"
    OUTPUT = "output"


@dataclass(frozen=True)
class Finding:
    """A place where a rule matched: code points `start` to `end`. Never the text itself."""

    rule: str
    action: Action
    where: Where
    start: int
    end: int

    def moved(self, by: int) -> "Finding":
        """The same finding, `by` characters further on."""
        return replace(self, start=self.start + by, end=self.end + by)


def placeholder(rule: str) -> str:
    """What stands in for a redacted match: `[email]`."""
    return f"[{rule}]"
