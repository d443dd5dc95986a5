"""What every endpoint of the HTTP API has: a request id, a span, and errors in OpenAI's shape."""

import logging
from collections.abc import Awaitable, Callable

from starlette.types import Receive, Scope, Send

from weir_gateway.rpc.openai.answers import to_json
from weir_gateway.rpc.openai.errors import error_headers, error_json
from weir_gateway.rpc.openai.http_call import ClientGone, HttpCall
from weir_kit import telemetry
from weir_kit.errors import Internal, WeirError, wire_of
from weir_kit.ids import Ids
from weir_kit.spans import REQUEST_ID_ATTRIBUTE

log = logging.getLogger(__name__)

Handler = Callable[[HttpCall], Awaitable[None]]


class Endpoint:
    """An ASGI application around one handler; `name` is the span's, as `GET /v1/models`."""

    def __init__(self, name: str, ids: Ids, handler: Handler) -> None:
        self._name = name
        self._ids = ids
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = self._ids.new("req")
        method, _, path = self._name.partition(" ")
        headers = dict(scope["headers"])
        parent = telemetry.parse_traceparent(headers.get(b"traceparent", b"").decode("latin-1"))
        attributes = {
            REQUEST_ID_ATTRIBUTE: request_id,
            "http.request.method": method,
            "http.route": path,
        }
        with (
            telemetry.use_service("gateway"),
            telemetry.start_span(self._name, kind="server", parent=parent, **attributes) as span,
        ):
            http = HttpCall(scope, receive, send, request_id, span)
            await self._handle(http)
            span.annotate(**{"http.response.status_code": http.status})

    async def _handle(self, http: HttpCall) -> None:
        try:
            await self._handler(http)
        except ClientGone:
            http.span.end("CANCELLED")
        except WeirError as error:
            await _fail(http, error)
        except Exception:
            log.exception("%s failed", self._name)  # the log writes where, not what
            await _fail(http, Internal("a fault of ours; the log has it under this request's id"))


async def _fail(http: HttpCall, error: WeirError) -> None:
    """Say what went wrong: as the answer, or as the last event of a stream that has begun."""
    http.span.annotate(**{"error.type": wire_of(error).reason})
    http.span.end(wire_of(error).status)
    if http.status:
        await http.emit(to_json(error_json(error)), last=True)
    else:
        await http.answer(wire_of(error).http, error_json(error), error_headers(error))
