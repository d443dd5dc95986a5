"""Forms: what is sent comes out as it was, whatever the bytes are; nothing else gets through."""

from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_gateway.rpc.openai.form import is_form, parse_form
from weir_kit.errors import InvalidArgument

FORM = "multipart/form-data; boundary=x"
PLAIN_NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=5)


def sent(fields: dict[str, str], pictures: list[bytes]) -> tuple[bytes, str]:
    """As httpx sends it."""
    files = [("images", ("a.jpg", picture)) for picture in pictures]
    request = httpx.Request("POST", "http://weir", data=fields, files=files)
    return request.read(), request.headers["content-type"]


@given(
    st.dictionaries(PLAIN_NAMES, st.text(st.characters(codec="utf-8"))),
    st.lists(st.binary(max_size=99) | st.sampled_from([b"\r\n", b"\r\n--x--", b"--"]), min_size=1),
)
def test_a_form_comes_out_as_it_was_sent(fields: dict[str, str], pictures: list[bytes]) -> None:
    body, content_type = sent(fields, pictures)
    assert is_form(content_type)
    assert parse_form(body, content_type) == {**fields, "images": pictures}


@given(st.binary(max_size=99), st.text(max_size=9))
def test_any_bytes_are_read_or_refused(body: bytes, more: str) -> None:
    framed = b'--x\r\ncontent-disposition: form-data; name="top_k"\r\n\r\n' + body + b"\r\n--x--"
    for content, content_type in ((body, FORM), (framed, FORM), (framed, f"{FORM}{more}")):
        with suppress(InvalidArgument):
            parse_form(content, content_type.replace("\n", "").replace("\r", ""))


def part(name: str, content: str) -> bytes:
    return f'--x\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{content}\r\n'.encode()


def test_numbers_are_numbers() -> None:
    body = part("top_k", "3") + part("min_score", "0.5") + part("model", "3") + b"--x--\r\n"
    values: dict[str, Any] = {"top_k": 3, "min_score": 0.5, "model": "3"}
    assert parse_form(body, FORM) == values


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", FORM),
        (b"--x", FORM),
        (part("a", "b"), FORM),
        (part("a", "b") + b"--x--", "multipart/form-data"),
        (part("a", "b") + b"--x--", "multipart/form-data; boundary=y"),
        (b"--x\r\ncontent-disposition: form-data\r\n\r\na\r\n--x--", FORM),
        (part("a", "b") * 2 + b"--x--", FORM),
        (part("top_k", "[" * 100_000) + b"--x--", FORM),
        (b"".join(part(f"a{n}", "b") for n in range(1101)) + b"--x--", FORM),
    ],
)
def test_what_is_no_form_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_form(body, content_type)
