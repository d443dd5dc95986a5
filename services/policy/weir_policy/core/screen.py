"""The stream screen: text in, released text out, the same however the text is cut.

Every detector says up to where its findings are final (`Detector.scan`). The text up to the
earliest of these places is decided; it is released, with placeholders where a rule redacts. Only
what is undecided, and the context that detectors ask for, is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from weir_policy.core.finding import Action, Finding, Where, placeholder
from weir_policy.core.rules import Rule

FINDINGS_MAX = 1000  # that are reported; redaction goes on beyond


@dataclass(frozen=True)
class Released:
    """What one call lets out.

    `screened_chars` counts, from the start of the text that went in, the characters whose fate is
    decided. `blocked_by` names the rule that ended the text; nothing follows then.
    """

    text: str
    findings: tuple[Finding, ...]
    screened_chars: int
    blocked_by: str


@dataclass(frozen=True)
class _Match:
    """A finding with its place in the order: by start, block before redact, the longer first."""

    order: tuple[int, bool, int, int]
    finding: Finding


class Screen:
    """Screens one growing text. Its memory is bounded by the longest match of any rule."""

    def __init__(self, rules: Sequence[Rule], where: Where) -> None:
        self._rules = tuple(rules)
        self._where = where
        self._context = max((rule.detector.context for rule in rules), default=0)
        self._tail = ""  # the text from `_base` on
        self._base = 0
        self._cursors = [0] * len(self._rules)
        self._matches: list[_Match] = []  # found, but behind something undecided
        self._done = 0  # everything before is released or replaced
        self._findings = 0
        self._blocked_by = ""

    def push(self, text: str) -> Released:
        """Take more text; release what no text after it can change."""
        return self._advance(text, final=False)

    def finish(self) -> Released:
        """The text is whole: release the rest."""
        return self._advance("", final=True)

    def _advance(self, text: str, *, final: bool) -> Released:
        if self._blocked_by:
            return Released("", (), self._done, self._blocked_by)
        self._tail += text
        safe = self._scan(final)
        ready = sorted(
            (m for m in self._matches if m.finding.start < safe), key=attrgetter("order")
        )
        self._matches = [m for m in self._matches if m.finding.start >= safe]
        pieces: list[str] = []
        reported: list[Finding] = []
        for match in ready:
            finding = match.finding
            pieces.append(self._take(finding.start))
            if self._findings < FINDINGS_MAX:
                self._findings += 1
                reported.append(finding)
            if finding.action is Action.BLOCK:
                self._blocked_by = finding.rule
                self._tail, self._matches = "", []
                break
            if finding.end > self._done:  # else an earlier match covers all of it
                pieces.append(placeholder(finding.rule))
                self._done = finding.end
        else:
            pieces.append(self._take(safe))
            self._forget()
        return Released("".join(pieces), tuple(reported), self._done, self._blocked_by)

    def _scan(self, final: bool) -> int:
        """Let every detector look at what is new to it; up to where all are sure."""
        safe = self._base + len(self._tail)
        for index, rule in enumerate(self._rules):
            at = self._cursors[index] - self._base
            spans, decided = rule.detector.scan(self._tail, at, final)
            assert at <= decided <= len(self._tail), "a detector never goes back"
            for start, end in spans:
                start, end = self._base + start, self._base + end
                order = (start, rule.action is not Action.BLOCK, -end, index)
                finding = Finding(rule.detector.name, rule.action, self._where, start, end)
                self._matches.append(_Match(order, finding))
            self._cursors[index] = self._base + decided
            safe = min(safe, self._base + decided)
        return safe

    def _take(self, end: int) -> str:
        """The text that is not done yet, up to `end`."""
        piece = self._tail[self._done - self._base : max(end, self._done) - self._base]
        self._done = max(end, self._done)
        return piece

    def _forget(self) -> None:
        """Drop the text that nobody looks at again."""
        needed = min(self._done, *(cursor - self._context for cursor in self._cursors), self._done)
        if needed > self._base:
            self._tail = self._tail[needed - self._base :]
            self._base = needed


def screen_whole(rules: Sequence[Rule], where: Where, text: str) -> Released:
    """Screen a text that is whole already."""
    screen = Screen(rules, where)
    first, last = screen.push(text), screen.finish()
    return Released(
        first.text + last.text, first.findings + last.findings, last.screened_chars, last.blocked_by
    )
