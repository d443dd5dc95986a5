"""The API key in an `authorization` header."""

from weir_kit.errors import InvalidApiKey

SCHEME = "bearer "
KEY_CHARS_MAX = 256


def bearer_key(authorization: str) -> str:
    """The key of `Bearer KEY`. Raises `InvalidApiKey` if there is none."""
    key = authorization[len(SCHEME) :].strip()
    if not authorization.lower().startswith(SCHEME) or not 0 < len(key) <= KEY_CHARS_MAX:
        raise InvalidApiKey("send your API key in the header: `Authorization: Bearer weir_sk_…`")
    return key
