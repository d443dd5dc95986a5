"""What a step that does not end says about the process."""

from weir_kit.condition import Condition

# The host asks once a second: health says so within 10 s of the hang.
UNWELL_AFTER_S = 9.0


def condition_of(stalled_s: float, broken_after_s: float) -> Condition:
    """How a process is whose step has run for `stalled_s`; infinite for a loop that broke down."""
    if stalled_s >= broken_after_s:
        return Condition.BROKEN
    return Condition.UNWELL if stalled_s >= UNWELL_AFTER_S else Condition.WELL
