"""Where a model runs that is not run here: the key `upstream` of a `model.yaml`."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from weir_inference.core.spec_fields import Fields

UPSTREAM_KEYS: Final = (
    "url", "model", "api_key_file", "connect_timeout_s", "first_token_timeout_s",
    "read_timeout_s", "retries", "token_ids", "context_tokens",
)  # fmt: skip
URL_CHARS_MAX = 512
NAME_CHARS_MAX = 256
RETRIES_MAX = 8
CONTEXT_TOKENS_MAX = 1 << 24
# A name or IPv4 address, or an IPv6 address. Never `..`: keys are found in a folder named so.
HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f]*:[0-9a-f:.]+", re.ASCII)


@dataclass(frozen=True)
class UpstreamSpec:
    """An OpenAI-compatible server, and what it can do.

    `url` is what `/completions` is appended to, such as `https://llm.example/v1`. `api_key_file`
    names a file of the operator's folder for this host. `token_ids`: it takes prompts as token ids,
    and the sampling parameters that vLLM adds to OpenAI's. `read_timeout_s` is between two pieces
    of an answer.
    """

    url: str
    model: str
    context_tokens: int
    api_key_file: str | None = None
    connect_timeout_s: float = 5.0
    first_token_timeout_s: float = 60.0
    read_timeout_s: float = 30.0
    retries: int = 2
    token_ids: bool = False

    @property
    def host(self) -> str:
        """The name or address in the URL."""
        return urlsplit(self.url).hostname or ""


def upstream_of(fields: Fields) -> UpstreamSpec:
    """What `upstream` says. Raises `InvalidArgument` naming the key."""
    inner = fields.inner("upstream", UPSTREAM_KEYS)
    return UpstreamSpec(
        url=_url(inner),
        model=inner.required("model", inner.text("model", NAME_CHARS_MAX, None)),
        context_tokens=inner.required(
            "context_tokens", inner.integer("context_tokens", 1, CONTEXT_TOKENS_MAX, None)
        ),
        api_key_file=inner.file("api_key_file", None),
        connect_timeout_s=inner.number("connect_timeout_s", 0.01, 60.0, 5.0),
        first_token_timeout_s=inner.number("first_token_timeout_s", 0.01, 3600.0, 60.0),
        read_timeout_s=inner.number("read_timeout_s", 0.01, 3600.0, 30.0),
        retries=inner.integer("retries", 0, RETRIES_MAX, 2),
        token_ids=inner.flag("token_ids", False),
    )


def _url(inner: Fields) -> str:
    url = inner.required("url", inner.text("url", URL_CHARS_MAX, None))
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        fits = parts.scheme in ("http", "https") and HOST.fullmatch(host) and port != 0
    except ValueError:  # a port or an IPv6 address that is none
        fits = False
    # A name or password in a URL would be a secret in a file that is no secret.
    if not fits or not url.isascii() or set(url) & set(" ?#@\\"):
        # Not shown: it may hold a password.
        raise inner.error("url", "must be http(s)://host[:port]/path, without user, ? or #")
    return url.rstrip("/")
