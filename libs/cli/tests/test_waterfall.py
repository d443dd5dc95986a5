from weir_cli import waterfall
from weir_cli.traces import Span, folded


def a_span(
    span_id: str,
    parent: str,
    service: str,
    name: str,
    start_ms: float = 0,
    duration_ms: float = 1,
    kind: str = "server",
    status: str = "OK",
) -> Span:
    return Span(span_id, parent, service, name, kind, status, start_ms, duration_ms, {})


ADMIT = "weir.policy.v1.PolicyService/Admit"
TRACE = [
    a_span("root", "", "gateway", "weir.gateway.v1.GenerationService/Generate", 0, 100),
    a_span("call", "root", "gateway", ADMIT, 1, 10, kind="client"),
    a_span("admit", "call", "policy", ADMIT, 2, 8),
    a_span(
        "lost", "root", "gateway", "weir.inference.v1.InferenceService/Generate", 20, 80, "client"
    ),
]


def test_a_call_whose_server_is_known_is_one_span_under_its_caller() -> None:
    calls = {span.span_id: span.parent_span_id for span in folded(TRACE)}
    assert calls == {"root": "", "admit": "root", "lost": "root"}


def test_lines_are_indented_under_their_caller_in_the_order_of_their_starts() -> None:
    lines = [line.plain for line in waterfall.lines(folded(TRACE))]
    assert lines[0].startswith("gateway   Generate")
    assert lines[1].startswith("policy      Admit")
    assert lines[2].startswith("gateway     Generate")


def test_bars_stand_where_the_span_ran_and_never_leave_the_page() -> None:
    assert waterfall.bar(a_span("a", "", "gateway", "x", 0, 100), 100) == "█" * 40
    assert (
        waterfall.bar(a_span("a", "", "gateway", "x", 50, 25), 100)
        == " " * 20 + "█" * 10 + " " * 10
    )
    assert waterfall.bar(a_span("a", "", "gateway", "x", 100, 0), 100) == " " * 39 + "█"


def test_a_failed_span_shows_its_status() -> None:
    failed = a_span("a", "", "gateway", "x", status="UNAVAILABLE")
    assert next(waterfall.lines([failed])).plain.endswith("UNAVAILABLE")


def test_an_empty_trace_has_no_lines() -> None:
    assert list(waterfall.lines([])) == []
