"""What every endpoint of the HTTP API has: a request id, a span, and errors in OpenAI's shape."""

import logging
from collections.abc import Awaitable, Callable

from starlette.types import Receive, Scope, Send

from weir_gateway.rpc.openai.answers import to_json
from weir_gateway.rpc.openai.errors import error_headers, error_json
from weir_gateway.rpc.openai.http_call import BodyTooLarge, ClientGone, HttpCall
from weir_gateway.rpc.openai.shape import Json
from weir_kit import telemetry
from weir_kit.errors import Internal, WeirError, wire_of
from weir_kit.ids import Ids
from weir_kit.spans import REQUEST_ID_ATTRIBUTE

log = logging.getLogger(__name__)

TOO_LARGE = 413
CLIENT_GONE = 499  # nginx's: nobody was there to be answered
Handler = Callable[[HttpCall], Awaitable[None]]


class Endpoint:
    """An ASGI application around one handler; `name` is the span's, as `GET /v1/models`.

    `error_body` is the shape of its errors.
    """

    def __init__(
        self,
        name: str,
        ids: Ids,
        handler: Handler,
        error_body: Callable[[WeirError], Json] = error_json,
    ) -> None:
        self._name = name
        self._ids = ids
        self._handler = handler
        self._error_body = error_body

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
            status = await self._handle(http)
            span.annotate(**{"http.response.status_code": http.status or CLIENT_GONE})
            span.end(status)

    async def _handle(self, http: HttpCall) -> str:
        """Answer; the gRPC status name that it came to."""
        try:
            await self._handler(http)
        except ClientGone:
            return "CANCELLED"
        except WeirError as error:
            failure = error
        except Exception:
            log.exception("%s failed", self._name)  # the log writes where, not what
            failure = Internal("a fault of ours; the log has it under this request's trace")
        else:
            return "OK"
        http.span.annotate(**{"error.type": wire_of(failure).reason})
        await self._say(http, failure)
        return wire_of(failure).status

    async def _say(self, http: HttpCall, error: WeirError) -> None:
        """What went wrong: as the answer, or as the last event of a stream that has begun."""
        if not http.status:
            status = TOO_LARGE if isinstance(error, BodyTooLarge) else wire_of(error).http
            await http.answer(status, self._error_body(error), error_headers(error))
        elif not http.ended:
            await http.emit(to_json(self._error_body(error)), last=True)
