"""Pictures in a body: base64, `data:` URLs, or the files of a form. Weir fetches nothing."""

import base64
import binascii
from typing import Any

from weir_gateway.core.prediction import Pictures
from weir_gateway.rpc.openai.fields import Fields

ONE, MANY = "image", "images"
REMOTE = ("http:", "https:", "ftp:", "file:")


def read_pictures(fields: Fields) -> tuple[Pictures, dict[str, str]]:
    """`image` or `images`, and what core's `pictures` is called. Raises `InvalidArgument`."""
    one, many = fields.take(ONE), fields.take(MANY)
    if (one is None) == (many is None):
        raise fields.wrong(ONE, f"or {MANY}: send one of them")
    if one is not None:
        return Pictures((_picture(fields, ONE, one),)), {"pictures[0]": ONE}
    if not isinstance(many, list):
        raise fields.wrong(MANY, "must be a list of pictures in base64")
    pictures = tuple(_picture(fields, f"{MANY}[{n}]", value) for n, value in enumerate(many))
    return Pictures(pictures), {"pictures": MANY}


def has_pictures(fields: Fields) -> bool:
    """Whether the body has any."""
    return fields.has(ONE) or fields.has(MANY)


def _picture(fields: Fields, name: str, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise fields.wrong(name, "must be a picture in base64, or a data: URL")
    if value[:8].lower().startswith(REMOTE):
        raise fields.wrong(name, "is not fetched: send the picture itself, in base64")
    if value[:5].lower() == "data:":
        head, comma, value = value.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise fields.wrong(name, "must be a data: URL with ;base64,")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise fields.wrong(name, "is not base64") from None
