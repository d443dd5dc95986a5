"""Errors in OpenAI's shape."""

import math

from weir_gateway.rpc.openai.shape import Json
from weir_kit.errors import WeirError, wire_of

RETRY_AFTER_STATUSES = (429, 503)


def error_json(error: WeirError) -> Json:
    """`{"error": {"message", "type", "param", "code"}}`."""
    wire = wire_of(error)
    return {
        "error": {
            "message": error.message,
            "type": wire.openai_type,
            "param": error.field,
            "code": wire.openai_code,
        }
    }


def error_headers(error: WeirError) -> dict[str, str]:
    """`retry-after` in whole seconds, rounded up: at the least 1 where trying again may help."""
    if wire_of(error).http not in RETRY_AFTER_STATUSES:
        return {}
    return {"retry-after": str(max(1, math.ceil(error.retry_after_s or 0)))}
