"""Forms (multipart/form-data, RFC 7578): the same fields as in JSON, with pictures as files."""

import json
from collections.abc import Iterator
from email.message import Message
from email.parser import HeaderParser
from typing import Any

from weir_gateway.rpc.openai.pictures import MANY, ONE
from weir_kit.errors import InvalidArgument

FORM = "multipart/form-data"
PARTS_MAX = 1100
NUMBERS = ("top_k", "min_score")


def is_form(content_type: str) -> bool:
    """Whether a body is a form."""
    return content_type.partition(";")[0].strip().lower() == FORM


def parse_form(body: bytes, content_type: str) -> dict[str, Any]:
    """The form's fields: `image` as bytes, `images` as a list of these, others as JSON has them.

    Raises `InvalidArgument`.
    """
    values: dict[str, Any] = {}
    for name, content in _parts(body, content_type):
        if name == MANY:
            values.setdefault(MANY, []).append(content)
        elif name in values:
            raise InvalidArgument(f"{name[:64]} is there twice", field=name[:64])
        else:
            values[name] = content if name == ONE else _value(name, content)
    return values


def _parts(body: bytes, content_type: str) -> Iterator[tuple[str, bytes]]:
    """Names and contents. The email package reads what is small; files it would read by lines."""
    header = Message()
    header["content-type"] = content_type
    delimiter = b"\r\n--" + (header.get_boundary() or "").encode()
    _, *parts = (b"\r\n" + body).split(delimiter, PARTS_MAX + 1)
    if len(delimiter) == 4 or not parts or not parts[-1].startswith(b"--"):
        raise InvalidArgument(
            f"the body must be a form as its content-type says, of at most {PARTS_MAX} parts"
        )
    for part in parts[:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        told = HeaderParser().parsestr(head.decode("utf-8", "replace").lstrip())
        name = told.get_param("name", header="content-disposition")
        if not isinstance(name, str):
            raise InvalidArgument("every part of the form must have a name")
        yield name, content


def _value(name: str, content: bytes) -> Any:
    try:
        text = content.decode()
        return json.loads(text) if name in NUMBERS else text
    except (ValueError, RecursionError):
        kind = "a number" if name in NUMBERS else "text in UTF-8"
        raise InvalidArgument(f"{name[:64]} must be {kind}", field=name[:64]) from None
