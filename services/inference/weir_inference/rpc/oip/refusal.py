"""How a field at fault is told."""

from weir_kit.errors import InvalidArgument


def refusal(field: str, why: str) -> InvalidArgument:
    """The error; its message names the field too, as the protocol's clients show no more."""
    return InvalidArgument(f"{field}: {why}", field=field)
