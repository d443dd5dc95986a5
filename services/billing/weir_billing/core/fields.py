"""What a request's fields may hold. Every check raises `InvalidArgument` that names the field."""

import re

from weir_kit.errors import InvalidArgument

# No colon: tenants' names stand between colons in account names.
TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}")
REQUEST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:\-]{0,127}")
# Hub ids (`org/name`) and tags (`name:7b`) are model names; blanks and control characters are not.
MODEL = re.compile(r"[^\s\x00-\x1f\x7f]{1,256}")
DESCRIPTION_CHARS_MAX = 500
TOKENS_MAX = 2**31 - 1
COUNT_MAX = 2**31 - 1
SECOND_US = 1_000_000
COMPUTE_US_MAX = COUNT_MAX * SECOND_US
TTL_S_DEFAULT = 300
TTL_S_MAX = 3600


def tenant_id(value: str, field: str = "tenant_id") -> str:
    """A tenant's id: 1 to 128 letters, digits, `_`, `.` and `-`."""
    if not TENANT.fullmatch(value):
        raise InvalidArgument(
            "must be 1 to 128 letters, digits, '_', '.' and '-', the first a letter or digit",
            field=field,
        )
    return value


def request_id(value: str, field: str = "request_id") -> str:
    """A request's id: as a tenant's, and `:`."""
    if not REQUEST.fullmatch(value):
        raise InvalidArgument(
            "must be 1 to 128 letters, digits, '_', '.', ':' and '-', the first a letter or digit",
            field=field,
        )
    return value


def model_name(value: str, field: str = "model") -> str:
    """A model's name: 1 to 256 characters without blanks."""
    if not MODEL.fullmatch(value):
        raise InvalidArgument(
            "must be a model's name: 1 to 256 characters without blanks", field=field
        )
    return value


def tokens(value: int, field: str) -> int:
    """A count of tokens from 0 to 2**31 - 1."""
    if not 0 <= value <= TOKENS_MAX:
        raise InvalidArgument(f"must be from 0 to {TOKENS_MAX} tokens", field=field)
    return value


def requests(value: int, field: str) -> int:
    """A count of calls from 1 to 2**31 - 1: without a call there is no work."""
    if not 1 <= value <= COUNT_MAX:
        raise InvalidArgument(f"must be from 1 to {COUNT_MAX} calls", field=field)
    return value


def items(value: int, field: str) -> int:
    """A count of items from 0 to 2**31 - 1."""
    if not 0 <= value <= COUNT_MAX:
        raise InvalidArgument(f"must be from 0 to {COUNT_MAX} items", field=field)
    return value


def compute_us(value: int, field: str) -> int:
    """Microseconds of computing, up to 2**31 - 1 seconds."""
    if not 0 <= value <= COMPUTE_US_MAX:
        raise InvalidArgument(f"must be from 0 to {COMPUTE_US_MAX} microseconds", field=field)
    return value


def ttl_s(value: int, field: str = "ttl_s") -> int:
    """Seconds a hold lives: 1 to 3600; 0 stands for 300."""
    if not 0 <= value <= TTL_S_MAX:
        raise InvalidArgument(
            f"must be from 1 to {TTL_S_MAX} seconds, or 0 for {TTL_S_DEFAULT}", field=field
        )
    return value or TTL_S_DEFAULT


def description(value: str, field: str = "description") -> str:
    """A text for people: at most 500 characters, none of them a control character."""
    if len(value) > DESCRIPTION_CHARS_MAX or any(ord(character) < 32 for character in value):
        raise InvalidArgument(
            f"must be at most {DESCRIPTION_CHARS_MAX} characters without control characters",
            field=field,
        )
    return value


def version(value: int, field: str = "version") -> int:
    """A price book's version: 1 or more; 0 stands for the newest."""
    if value < 0:
        raise InvalidArgument("must be 1 or more, or 0 for the newest", field=field)
    return value


def page_size(value: int, field: str = "page_size") -> int:
    """Items a page: 0 stands for 100; more than 1000 are given as 1000 (AIP-158)."""
    if value < 0:
        raise InvalidArgument("must be 0 or more", field=field)
    return min(value or 100, 1000)
