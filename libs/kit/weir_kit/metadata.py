"""Metadata: the small texts that travel beside a call's messages."""

from collections.abc import Iterable
from typing import Any

SERVICE_TOKEN_KEY = "weir-service-token"  # noqa: S105 - its name
TRACEPARENT_KEY = "traceparent"
STATUS_DETAILS_KEY = "grpc-status-details-bin"


def value_of(source: Any, key: str) -> str:
    """The first value of `key` in a servicer's context or in metadata; "" if it is absent.

    `key` is lower case; values of `-bin` keys are bytes and not for this function.
    """
    for name, value in pairs_of(source):
        if name == key:
            return value if isinstance(value, str) else value.decode("latin-1")
    return ""


def pairs_of(source: Any) -> Iterable[tuple[str, str | bytes]]:
    """The pairs of a servicer's context, of `grpc.aio.Metadata` or of a sequence of pairs."""
    read = getattr(source, "invocation_metadata", None)
    pairs: Iterable[tuple[str, str | bytes]] | None = read() if read is not None else source
    return pairs or ()
