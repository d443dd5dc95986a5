"""What every endpoint under `/v2` needs of its request, and how its errors look."""

from weir_gateway.rpc.bearer import bearer_key
from weir_gateway.rpc.oip.caller import Caller
from weir_gateway.rpc.openai.http_call import HttpCall
from weir_gateway.rpc.openai.shape import Json
from weir_kit import telemetry
from weir_kit.errors import WeirError, wire_of


def key_of(http: HttpCall) -> str:
    """The API key. Raises `InvalidApiKey` if none is sent."""
    return bearer_key(http.headers.get("authorization", ""))


def caller_of(http: HttpCall, timeout_s: float) -> Caller:
    """Who calls. Raises `InvalidApiKey` if no key is sent."""
    return Caller(http.request_id, key_of(http), timeout_s, telemetry.current_trace_id())


def model_of(http: HttpCall) -> tuple[str, str]:
    """The model's name and the version asked for, as the path has them."""
    return http.path_params["model"], http.path_params.get("version", "")


def oip_error_json(error: WeirError) -> Json:
    """The protocol's: `error` is a text. Beside it, what went wrong for programs to read."""
    return {"error": error.message, "code": wire_of(error).reason, "field": error.field}
