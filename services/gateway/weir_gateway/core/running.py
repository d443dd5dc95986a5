"""The requests that run in this gateway."""

from collections.abc import Iterator
from contextlib import contextmanager

from weir_gateway.core.closings import Closings
from weir_kit.errors import Conflict, QueueFull

REQUESTS_MAX = 4096


class Running:
    """At most `REQUESTS_MAX` requests at once, and never two of one id.

    Two runs under one id would share one hold: one of them would not be paid for.
    """

    def __init__(self, closings: Closings) -> None:
        self._closings = closings
        self._request_ids: set[str] = set()

    @contextmanager
    def enter(self, request_id: str) -> Iterator[None]:
        """Count one request in, and out at the end. Raises `Conflict`, `QueueFull`."""
        if request_id in self._request_ids or self._closings.has(request_id):
            raise Conflict("a request with this request_id is running", field="request_id")
        if len(self._request_ids) >= REQUESTS_MAX:
            raise QueueFull("the gateway is busy", retry_after_s=1.0)
        self._request_ids.add(request_id)
        try:
            yield
        finally:
            self._request_ids.remove(request_id)
