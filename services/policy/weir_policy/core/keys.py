"""API keys: `weir_sk_`, eight characters to look the key up by, and a secret.

What is kept is HMAC-SHA256 of the whole key under a pepper that is not in the database, so a copy
of the database opens nothing. The secret has 190 bits: a slow hash would only slow every request.
"""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from weir_kit.errors import InvalidApiKey
from weir_policy.core.principal import Principal

MARK = "weir_sk_"
PREFIX_CHARS = 8
SECRET_CHARS = 32
API_KEY = re.compile(rf"({MARK}[a-z0-9]{{{PREFIX_CHARS}}})[A-Za-z0-9]{{{SECRET_CHARS}}}")
REFUSAL = "the API key is missing, unknown, revoked or expired"

Draw = Callable[[str], str]


@dataclass(frozen=True)
class Key:
    """What is kept of a key. Times are seconds since 1970-01-01 UTC.

    `prefix` is the key's first characters, `weir_sk_ab12cd34`. No `allowed_models`: all models.
    `requests_per_minute` 0: no limit.
    """

    principal: Principal
    prefix: str
    digest: bytes = field(repr=False)
    display_name: str
    allowed_models: tuple[str, ...]
    requests_per_minute: int
    created_at_s: float
    expires_at_s: float | None
    revoked_at_s: float | None

    def is_good(self, now_s: float) -> bool:
        """Whether the key is neither revoked nor expired."""
        return self.revoked_at_s is None and (
            self.expires_at_s is None or now_s < self.expires_at_s
        )

    def allows(self, model: str) -> bool:
        """Whether the key may use the model."""
        return not self.allowed_models or model in self.allowed_models

    def revoked(self, now_s: float) -> "Key":
        """The key, revoked now if it was not before."""
        return self if self.revoked_at_s is not None else replace(self, revoked_at_s=now_s)


class KeyHasher:
    """Makes and checks the digests of keys. Holds the pepper."""

    def __init__(self, pepper: bytes) -> None:
        assert pepper, "a pepper is never empty"
        self._pepper = pepper

    def digest(self, api_key: str) -> bytes:
        """32 bytes to keep in place of the key."""
        return hmac.new(self._pepper, api_key.encode(), hashlib.sha256).digest()

    def check(self, api_key: str, key: Key | None, now_s: float) -> Key:
        """The key's record, `key`, if `api_key` is that key and it is good.

        Raises `InvalidApiKey`, the same for every reason and after the same work, so that nobody
        learns which keys exist.
        """
        expected = key.digest if key is not None else bytes(hashlib.sha256().digest_size)
        matches = hmac.compare_digest(self.digest(api_key), expected)
        if key is None or not matches or not key.is_good(now_s):
            raise InvalidApiKey(REFUSAL)
        return key


def prefix_of(api_key: str) -> str:
    """What to look the key up by. Raises `InvalidApiKey` if it cannot be a key."""
    found = API_KEY.fullmatch(api_key)
    if found is None:
        raise InvalidApiKey(REFUSAL)
    return found[1]


def new_api_key(draw: Draw = secrets.choice) -> str:
    """A new key; `draw` picks a character of a string at random."""
    prefix = "".join(draw(string.ascii_lowercase + string.digits) for _ in range(PREFIX_CHARS))
    secret = "".join(draw(string.ascii_letters + string.digits) for _ in range(SECRET_CHARS))
    return f"{MARK}{prefix}{secret}"
