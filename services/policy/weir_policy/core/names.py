"""What ids and names may look like; each check returns its argument or raises `InvalidArgument`."""

import re
from collections.abc import Sequence

from weir_kit.errors import InvalidArgument

RESOURCE_ID = re.compile(r"[a-z][a-z0-9-]{0,62}")
REQUEST_ID = re.compile(r"[A-Za-z0-9_\-]{1,64}")
KEY_ID = re.compile(r"key_[a-z0-9]{1,60}")
DISPLAY_NAME_CHARS_MAX = 128
MODEL_CHARS_MAX = 256
MODELS_MAX = 256


def check_resource_id(text: str, field: str) -> str:
    """A tenant's or project's id."""
    if not RESOURCE_ID.fullmatch(text):
        raise InvalidArgument(
            f"{field} must be 1 to 63 lower-case letters, digits and hyphens, a letter first",
            field=field,
        )
    return text


def check_request_id(text: str, field: str = "request_id") -> str:
    """The gateway's id of a request."""
    if not REQUEST_ID.fullmatch(text):
        raise InvalidArgument(
            f"{field} must be 1 to 64 letters, digits, hyphens and underscores", field=field
        )
    return text


def check_key_id(text: str, field: str) -> str:
    """A key's id, which is not the key."""
    if not KEY_ID.fullmatch(text):
        raise InvalidArgument(
            f"{field} must be a key's id: `key_` and lower-case letters and digits", field=field
        )
    return text


def check_model(text: str, field: str) -> str:
    """A model's name."""
    if not 1 <= len(text) <= MODEL_CHARS_MAX or not text.isprintable():
        raise InvalidArgument(
            f"{field} must be a model's name: 1 to {MODEL_CHARS_MAX} printable characters",
            field=field,
        )
    return text


def check_allowed_models(models: Sequence[str], field: str) -> tuple[str, ...]:
    """The models of a key, each once."""
    if len(models) > MODELS_MAX:
        raise InvalidArgument(f"{field} must have at most {MODELS_MAX} models", field=field)
    if len(set(models)) < len(models):
        raise InvalidArgument(f"{field} must name each model once", field=field)
    return tuple(check_model(model, f"{field}[{place}]") for place, model in enumerate(models))


def check_display_name(text: str, field: str = "display_name") -> str:
    """A name for people; may be empty."""
    if len(text) > DISPLAY_NAME_CHARS_MAX or not text.isprintable():
        raise InvalidArgument(
            f"{field} must be at most {DISPLAY_NAME_CHARS_MAX} printable characters", field=field
        )
    return text
