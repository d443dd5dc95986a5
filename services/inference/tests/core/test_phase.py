"""A request's account becomes the phases of its trace."""

from weir_inference.core.phase import Phase, phases_of
from weir_inference.core.request import Ending, EndReason


def ending(
    started_at_s: float | None, first_token_at_s: float | None, output_tokens: int
) -> Ending:
    return Ending(EndReason.STOP, 5, output_tokens, 1.0, started_at_s, first_token_at_s, 9.0)


def test_a_whole_request_has_three_phases_end_to_end() -> None:
    assert list(phases_of(ending(2.0, 4.0, 6))) == [
        Phase("queue", 1.0, 2.0, 5),
        Phase("prefill", 2.0, 4.0, 5),
        Phase("decode", 4.0, 9.0, 6),
    ]


def test_a_request_that_never_left_the_queue_has_one() -> None:
    assert list(phases_of(ending(None, None, 0))) == [Phase("queue", 1.0, 9.0, 5)]


def test_a_request_that_ended_before_its_first_token_has_no_decoding() -> None:
    assert [phase.name for phase in phases_of(ending(2.0, None, 0))] == ["queue", "prefill"]
