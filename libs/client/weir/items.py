"""What models that answer in one piece are sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict, cast

from weir.asking import MESSAGE_BYTES_MAX
from weir_contracts.common.v1 import prediction_pb2 as common
from weir_contracts.gateway.v1.prediction_pb2 import PredictRequest
from weir_kit.errors import InvalidArgument

File = bytes | str | PathLike[str]
"""The bytes of a file, or the path to one here; a plain string is a path."""


@dataclass(frozen=True)
class User:
    """Who to recommend to, by ids of items: those liked, the oldest first, and others to leave out.

    Without a history it is what most users like.
    """

    history: Sequence[str] = ()
    excluded: Sequence[str] = ()


class PredictOptions(TypedDict, total=False):
    """How to answer. What is absent, or None, is the model's own choice."""

    top_k: int | None
    """Classes or recommended items of each answer, at most."""
    min_score: float | None
    """Classes, spans and boxes below this score are left out."""
    dimensions: int | None
    """The first dimensions of each embedding, normalised again. For Matryoshka models."""
    version: str
    """A version of the model (`2`) or an alias (`stable`). Default: the model's default."""
    request_id: str
    """An id of your own for the ledger and the trace: 1 to 64 letters, digits, hyphens and
    underscores, never used before."""
    deadline_s: float | None
    """The time that the call may take."""


class Asked(PredictOptions, total=False):
    """Items of one kind, and how to answer. One item may stand without a list."""

    texts: str | Sequence[str] | None
    """For text-classification, token-classification, language-id and embedding."""
    images: File | Sequence[File] | None
    """For image-classification, object-detection and ocr: JPEG, PNG, WebP, GIF or BMP."""
    blobs: File | Sequence[File] | None
    """Any files, for file-type."""
    query: str | None
    """For rerank, with `documents`."""
    documents: Sequence[str] | None
    """What might answer the query; an item is a document."""
    users: User | Sequence[User] | None
    """For recommendation."""


KINDS = ("texts", "images", "blobs", "query", "users")


def predict_request(model: str, asked: Asked) -> PredictRequest:
    """The request; files are read here.

    Raises `InvalidArgument` unless items of exactly one kind are given, for a file that cannot be
    read, for more than a message holds, and for a value that no field can hold.
    """
    try:
        request = PredictRequest(
            request_id=asked.get("request_id", ""),
            model=model,
            version=asked.get("version", ""),
            input=_input(asked),
            options=common.PredictionOptions(
                top_k=asked.get("top_k"),  # type: ignore[arg-type]
                min_score=asked.get("min_score"),
                dimensions=asked.get("dimensions"),  # type: ignore[arg-type]
            ),
        )
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"a value has the wrong type or range: {error}") from error
    if request.ByteSize() > MESSAGE_BYTES_MAX:
        kind = next(kind for kind in KINDS if asked.get(kind) is not None)
        raise _too_much(kind)
    return request


def _input(asked: Asked) -> common.PredictionInput:
    given = [kind for kind in KINDS if asked.get(kind) is not None]
    if len(given) != 1:
        named = " and ".join(given) or "none"
        raise InvalidArgument(
            f"give one of {', '.join(KINDS)}, not {named}", field=given[1] if given else "texts"
        )
    if ("query" in given) != (asked.get("documents") is not None):
        raise InvalidArgument("query and documents go together", field="documents")
    items: Any = asked[given[0]]  # type: ignore[literal-required]
    match given[0]:
        case "texts":
            return common.PredictionInput(texts=common.Texts(texts=_many(items, str)))
        case "images":
            return common.PredictionInput(pictures=common.Pictures(pictures=_read("images", items)))
        case "blobs":
            return common.PredictionInput(blobs=common.Blobs(blobs=_read("blobs", items)))
        case "query":
            documents = _several("documents", asked["documents"])
            rerank = common.RerankQuery(query=items, documents=documents)
            return common.PredictionInput(rerank=rerank)
    users = [
        common.User(
            history=_several("history", user.history),
            excluded=_several("excluded", user.excluded),
        )
        for user in _many(items, User)
    ]
    return common.PredictionInput(users=common.Users(users=users))


def _many(items: Any, one: type | tuple[type, ...]) -> Sequence[Any]:
    return [items] if isinstance(items, one) else cast(Sequence[Any], items)


def _several(field: str, texts: Any) -> Any:
    if isinstance(texts, str):  # a sequence of texts too, one a letter
        raise InvalidArgument(f"{field} must be a list of texts, not one", field=field)
    return texts


def _read(field: str, files: File | Sequence[File]) -> list[bytes]:
    contents: list[bytes] = []
    left_bytes = MESSAGE_BYTES_MAX
    for place, file in enumerate(_many(files, (bytes, str, PathLike))):
        content = (
            file if isinstance(file, bytes) else _content(f"{field}[{place}]", file, left_bytes + 1)
        )
        left_bytes -= len(content)
        if left_bytes < 0:
            raise _too_much(field)
        contents.append(content)
    return contents


def _content(field: str, path: str | PathLike[str], n_bytes: int) -> bytes:
    """At most so many bytes of a file."""
    try:
        with Path(path).open("rb") as file:
            return file.read(n_bytes)
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read: {error.strerror}", field=field) from error


def _too_much(field: str) -> InvalidArgument:
    return InvalidArgument(
        f"a call with its {field} has more than {MESSAGE_BYTES_MAX} bytes: send fewer at once",
        field=field,
    )
