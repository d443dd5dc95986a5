"""An answer that an upstream should not have given."""


class BadAnswer(ValueError):
    """It is not what the interface says. The message names the fault and holds nothing of it."""
