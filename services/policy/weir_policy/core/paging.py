"""Pages of a list (AIP-158): bounded sizes, and opaque tokens that fit only their own list."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from weir_kit.errors import InvalidArgument

PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1000
TOKEN_CHARS_MAX = 256
MARK_BYTES = 8
T = TypeVar("T")


@dataclass(frozen=True)
class PageRequest:
    """At most `size` items after the one that `after` names; "" starts at the beginning."""

    size: int
    after: str


@dataclass(frozen=True)
class Page(Generic[T]):
    """Items, and the token of the next page; "" at the end."""

    items: tuple[T, ...]
    next_page_token: str


def read_page(page_size: int, page_token: str, listing: str) -> PageRequest:
    """The request for a page of `listing`, a text that names the list and its filters.

    Raises `InvalidArgument` for a negative size or a token of another list. A size above the most
    is cut, as AIP-158 says.
    """
    if page_size < 0:
        raise InvalidArgument("page_size must not be negative", field="page_size")
    size = min(page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)
    return PageRequest(size, _read_token(page_token, listing) if page_token else "")


def make_page(
    items: Sequence[T], request: PageRequest, listing: str, place: Callable[[T], str]
) -> Page[T]:
    """A page of `items`, of which there is one more than asked for if another page follows."""
    shown = tuple(items[: request.size])
    more = len(items) > request.size
    return Page(shown, _make_token(place(shown[-1]), listing) if more else "")


def _make_token(after: str, listing: str) -> str:
    return base64.urlsafe_b64encode(_mark(after, listing) + after.encode()).decode().rstrip("=")


def _read_token(token: str, listing: str) -> str:
    try:
        if len(token) > TOKEN_CHARS_MAX:
            raise ValueError("too long")
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        after = raw[MARK_BYTES:].decode()
    except (ValueError, binascii.Error):
        after, raw = "", b""
    if not after or not hmac.compare_digest(raw[:MARK_BYTES], _mark(after, listing)):
        raise InvalidArgument(
            "page_token must be the next_page_token of an answer to the same question",
            field="page_token",
        )
    return after


def _mark(after: str, listing: str) -> bytes:
    """Ties a token to its list. No secret: it keeps mistakes out, and lists hold nothing hidden."""
    return hashlib.sha256(f"{listing}\n{after}".encode()).digest()[:MARK_BYTES]
