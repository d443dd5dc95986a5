"""What a prediction may look like, checked before any peer is asked."""

import math
from collections.abc import Sequence

from weir_gateway.core.limits import INT32_MAX, check_model, check_request_id
from weir_gateway.core.prediction import (
    Blobs,
    Pictures,
    PredictionCall,
    PredictionInput,
    PredictionOptions,
    RerankQuery,
    Tensors,
    Texts,
    Users,
)
from weir_kit.errors import InvalidArgument

ITEMS_MAX = 1024
TEXTS_MAX = 1025  # policy's, of one request: the documents and the query
TEXT_BYTES_MAX = 64 * 1024  # in UTF-8
TEXTS_CHARS_MAX = 1 << 20  # policy's
VERSION_CHARS_MAX = 64


def check_prediction(call: PredictionCall) -> None:
    """Raise `InvalidArgument` for the first field that is wrong; fields have core's names."""
    check_request_id(call.request_id)
    check_model(call.model)
    if len(call.version) > VERSION_CHARS_MAX:
        raise InvalidArgument(
            f"version has more than {VERSION_CHARS_MAX} characters: give a number, an alias or "
            "nothing",
            field="version",
        )
    _check_input(call.input)
    _check_options(call.options)


def _check_input(asked: PredictionInput) -> None:
    match asked:
        case Texts():
            _check_texts("texts", asked.texts)
        case RerankQuery():
            _check_text("query", asked.query)
            _check_texts("documents", asked.documents)
        case Pictures():
            _check_bytes("pictures", asked.pictures)
        case Blobs():
            _check_count("blobs", len(asked))
        case Users():
            _check_count("users", len(asked))
        case Tensors():
            if not 1 <= len(asked) <= INT32_MAX:
                raise InvalidArgument(
                    f"inputs[0].shape must begin with 1 to {INT32_MAX} rows",
                    field="inputs[0].shape",
                )
            if len(asked.texts) > TEXTS_MAX:
                raise InvalidArgument(
                    f"inputs have {len(asked.texts)} texts in BYTES, at most {TEXTS_MAX} at a time",
                    field="inputs",
                )
            _check_chars("inputs", asked.texts)


def _check_texts(field: str, texts: Sequence[str]) -> None:
    _check_count(field, len(texts))
    for place, text in enumerate(texts):
        _check_text(f"{field}[{place}]", text)
    _check_chars(field, texts)


def _check_chars(field: str, texts: Sequence[str]) -> None:
    if sum(map(len, texts)) > TEXTS_CHARS_MAX:
        raise InvalidArgument(
            f"{field} have more than {TEXTS_CHARS_MAX} characters together: send fewer at a time",
            field=field,
        )


def _check_text(field: str, text: str) -> None:
    # Characters first: it is cheap, and a text of so many has as many bytes at the least.
    if len(text) > TEXT_BYTES_MAX or len(text.encode()) > TEXT_BYTES_MAX:
        raise InvalidArgument(f"{field} has more than {TEXT_BYTES_MAX} bytes", field=field)
    if not text:
        raise InvalidArgument(f"{field} must not be empty", field=field)


def _check_bytes(field: str, items: Sequence[bytes]) -> None:
    _check_count(field, len(items))
    for place, item in enumerate(items):
        if not item:
            raise InvalidArgument(f"{field}[{place}] must not be empty", field=f"{field}[{place}]")


def _check_count(field: str, n_items: int) -> None:
    if not 1 <= n_items <= ITEMS_MAX:
        raise InvalidArgument(f"{field} must have 1 to {ITEMS_MAX} items", field=field)


def _check_options(options: PredictionOptions) -> None:
    for field, value in (("top_k", options.top_k), ("dimensions", options.dimensions)):
        if not 0 <= value <= INT32_MAX:
            raise InvalidArgument(f"{field} must be between 0 and {INT32_MAX}", field=field)
    if options.min_score is not None and not math.isfinite(options.min_score):
        raise InvalidArgument("min_score must be a finite number", field="min_score")
