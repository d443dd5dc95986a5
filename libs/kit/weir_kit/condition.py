"""How a service is, as it says itself."""

from enum import Enum


class Condition(Enum):
    """`WELL` serves. `UNWELL` does not, and may again. `BROKEN` never will in this process."""

    WELL = "well"
    UNWELL = "unwell"
    BROKEN = "broken"


def always_well() -> Condition:
    """Of a service with nothing that could hang without its calls hanging too."""
    return Condition.WELL
