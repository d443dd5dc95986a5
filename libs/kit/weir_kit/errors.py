"""The errors that Weir's services raise, and the one table of what they are on each wire.

Pure: `core/` raises these without knowing gRPC or HTTP. `weir_kit.status` turns them into gRPC
statuses and back; the gateway turns them into OpenAI's error shape.
"""

from dataclasses import dataclass


class WeirError(Exception):
    """Something a caller should know about.

    `message` is for people and holds no keys, prompts or personal data. `field` names the request
    field at fault. `retry_after_s` says when trying again may help. `details` go into ErrorInfo's
    metadata.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        retry_after_s: float | None = None,
        details: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after_s = retry_after_s
        self.details = details or {}


class InvalidArgument(WeirError):
    """A field is wrong: `field` names it, the message says what would be right."""


class ContextLengthExceeded(InvalidArgument):
    """Prompt and output do not fit the model's context."""


class InvalidApiKey(WeirError):
    """The API key is missing, unknown, revoked or expired."""


class Unauthenticated(WeirError):
    """A call between services lacks a valid service token or admission."""


class PermissionDenied(WeirError):
    """The caller is known and may not do this."""


class ModelNotAllowed(PermissionDenied):
    """The key may not use this model."""


class ContentBlocked(WeirError):
    """A rule of the tenant's policy blocks the input."""


class NotFound(WeirError):
    """What the request names does not exist."""


class ModelNotFound(NotFound):
    """No such model."""


class PriceNotFound(NotFound):
    """The price book has no price for the model."""


class AlreadyExists(WeirError):
    """The name is taken."""


class Conflict(WeirError):
    """The thing is in a state that does not allow this, or the same id came with other contents."""


class InsufficientCredit(WeirError):
    """The tenant's available credit does not cover the worst-case price."""


class RateLimited(WeirError):
    """A limit of the key or tenant is used up; `retry_after_s` says until when."""


class QueueFull(WeirError):
    """The engine's queue is full; `retry_after_s` is a guess at when it is not."""


class DeadlineExceeded(WeirError):
    """The caller's deadline passed."""


class Unavailable(WeirError):
    """A service that this needs is away for the moment."""


class Internal(WeirError):
    """A fault of ours. The message says nothing about the inside."""


@dataclass(frozen=True)
class Wire:
    """What an error is on the wires.

    `status` is a gRPC status name, `reason` goes into ErrorInfo (AIP-193), `http` is the HTTP
    status, `openai_type` and `openai_code` are what OpenAI's error object says.
    """

    status: str
    reason: str
    http: int
    openai_type: str
    openai_code: str | None


WIRES: dict[type[WeirError], Wire] = {
    InvalidArgument: Wire(
        "INVALID_ARGUMENT", "INVALID_ARGUMENT", 400, "invalid_request_error", None
    ),
    ContextLengthExceeded: Wire(
        "INVALID_ARGUMENT",
        "CONTEXT_LENGTH_EXCEEDED",
        400,
        "invalid_request_error",
        "context_length_exceeded",
    ),
    InvalidApiKey: Wire(
        "UNAUTHENTICATED", "INVALID_API_KEY", 401, "authentication_error", "invalid_api_key"
    ),
    Unauthenticated: Wire("UNAUTHENTICATED", "UNAUTHENTICATED", 401, "authentication_error", None),
    PermissionDenied: Wire("PERMISSION_DENIED", "PERMISSION_DENIED", 403, "permission_error", None),
    ModelNotAllowed: Wire(
        "PERMISSION_DENIED", "MODEL_NOT_ALLOWED", 403, "permission_error", "model_not_allowed"
    ),
    ContentBlocked: Wire(
        "PERMISSION_DENIED",
        "CONTENT_BLOCKED",
        400,
        "invalid_request_error",
        "content_policy_violation",
    ),
    NotFound: Wire("NOT_FOUND", "NOT_FOUND", 404, "invalid_request_error", "not_found"),
    ModelNotFound: Wire(
        "NOT_FOUND", "MODEL_NOT_FOUND", 404, "invalid_request_error", "model_not_found"
    ),
    PriceNotFound: Wire(
        "NOT_FOUND", "PRICE_NOT_FOUND", 404, "invalid_request_error", "price_not_found"
    ),
    AlreadyExists: Wire(
        "ALREADY_EXISTS", "ALREADY_EXISTS", 409, "invalid_request_error", "already_exists"
    ),
    Conflict: Wire("FAILED_PRECONDITION", "CONFLICT", 409, "invalid_request_error", "conflict"),
    InsufficientCredit: Wire(
        "FAILED_PRECONDITION",
        "INSUFFICIENT_CREDIT",
        402,
        "insufficient_quota",
        "insufficient_quota",
    ),
    RateLimited: Wire(
        "RESOURCE_EXHAUSTED", "RATE_LIMITED", 429, "rate_limit_error", "rate_limit_exceeded"
    ),
    QueueFull: Wire("RESOURCE_EXHAUSTED", "QUEUE_FULL", 503, "server_error", "queue_full"),
    DeadlineExceeded: Wire(
        "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", 504, "server_error", "timeout"
    ),
    Unavailable: Wire("UNAVAILABLE", "UNAVAILABLE", 503, "server_error", "unavailable"),
    Internal: Wire("INTERNAL", "INTERNAL", 500, "server_error", "internal_error"),
}

BY_REASON: dict[str, type[WeirError]] = {wire.reason: kind for kind, wire in WIRES.items()}


def wire_of(error: WeirError) -> Wire:
    """The error's row; a subclass without its own has its parent's."""
    return next(WIRES[kind] for kind in type(error).__mro__ if kind in WIRES)
