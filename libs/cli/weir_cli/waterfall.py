"""A trace as text: one line a span, indented under its caller, with a bar for when it ran."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from rich.text import Text

from weir_cli.traces import Span

BAR_CELLS = 40
NAME_CELLS_MAX = 46
COLOURS = {
    "gateway": "cyan",
    "policy": "magenta",
    "billing": "yellow",
    "tokenizer": "green",
    "inference": "blue",
}


def lines(spans: Sequence[Span]) -> Iterator[Text]:
    """The waterfall. Times are milliseconds from the trace's start."""
    total_ms = max((span.start_ms + span.duration_ms for span in spans), default=0.0) or 1.0
    names = {span.span_id: _label(span, depth) for span, depth in in_tree_order(spans)}
    width = min(max((len(name) for name in names.values()), default=0), NAME_CELLS_MAX)
    for span, _ in in_tree_order(spans):
        colour = COLOURS.get(span.service, "white")
        name = names[span.span_id][:NAME_CELLS_MAX].ljust(width)
        line = Text.assemble(
            (f"{span.service:<10}", colour),
            f"{name} {span.start_ms:>9.1f} {span.duration_ms:>9.1f} ms ",
            (bar(span, total_ms), colour),
        )
        if span.status not in ("OK", ""):
            line.append(f" {span.status}", "red")
        yield line


def bar(span: Span, total_ms: float) -> str:
    """Where in the trace the span ran; at least one cell, never more than there are."""
    first = min(int(span.start_ms / total_ms * BAR_CELLS), BAR_CELLS - 1)
    cells = max(1, round(span.duration_ms / total_ms * BAR_CELLS))
    return (" " * first + "█" * min(cells, BAR_CELLS - first)).ljust(BAR_CELLS)


def in_tree_order(spans: Sequence[Span]) -> list[tuple[Span, int]]:
    """Each span with its depth: parents before children, children in the order of their starts."""
    ids = {span.span_id for span in spans}
    children: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.start_ms):
        children[span.parent_span_id if span.parent_span_id in ids else ""].append(span)
    ordered: list[tuple[Span, int]] = []
    waiting = [(span, 0) for span in reversed(children[""])]
    while waiting:
        span, depth = waiting.pop()
        ordered.append((span, depth))
        waiting.extend((child, depth + 1) for child in reversed(children[span.span_id]))
    return ordered


def _label(span: Span, depth: int) -> str:
    """`weir.policy.v1.PolicyService/Admit` is shown as `Admit`: the service stands before it."""
    return "  " * depth + span.name.rsplit("/", 1)[-1]
