"""What a model is asked to look at, what of the answer is wanted, and the answers by task."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

ITEMS_MAX = 1024
TEXT_BYTES_MAX = 64 << 10


@dataclass(frozen=True)
class Texts:
    """For text-classification, token-classification, language-id and embedding."""

    texts: tuple[str, ...]

    @property
    def n_items(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Pictures:
    """JPEG, PNG, WebP, GIF or BMP, for image-classification, object-detection and ocr."""

    pictures: tuple[bytes, ...]

    @property
    def n_items(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True)
class Blobs:
    """Contents of files, for file-type."""

    blobs: tuple[bytes, ...]

    @property
    def n_items(self) -> int:
        return len(self.blobs)


@dataclass(frozen=True)
class RerankQuery:
    """What the documents are to answer; an item is a document. For rerank and embedding."""

    query: str
    documents: tuple[str, ...]

    @property
    def n_items(self) -> int:
        return len(self.documents)


@dataclass(frozen=True)
class User:
    """Ids of items that somebody liked, the oldest first, and of others not to recommend."""

    history: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True)
class Users:
    """For recommendation."""

    users: tuple[User, ...]

    @property
    def n_items(self) -> int:
        return len(self.users)


PredictionInput: TypeAlias = Texts | Pictures | Blobs | RerankQuery | Users


@dataclass(frozen=True)
class PredictionOptions:
    """What of the answer is wanted; None is the model's own choice.

    `top_k` bounds classes, boxes and recommended items, `min_score` drops classes, spans, boxes
    and lines below it. Embeddings are cut to their first `dimensions` and normalised again.
    """

    top_k: int | None = None
    min_score: float | None = None
    dimensions: int | None = None


@dataclass(frozen=True)
class ScoredClass:
    """A class and its probability."""

    label: str
    score: float


@dataclass(frozen=True)
class Classes:
    """Classes of an item, the likeliest first."""

    classes: tuple[ScoredClass, ...]


@dataclass(frozen=True)
class Span:
    """The code points from `start` to before `end` of a text; `score` is in [0, 1]."""

    start: int
    end: int
    label: str
    score: float


@dataclass(frozen=True)
class Spans:
    """Named parts of a text, in its order."""

    spans: tuple[Span, ...]


@dataclass(frozen=True, eq=False)
class Embedding:
    """`values` is fp32 [dimensions]."""

    values: NDArray[np.float32]


@dataclass(frozen=True)
class Score:
    """How well a document answers."""

    score: float


@dataclass(frozen=True)
class Box:
    """A thing in a picture; pixels from its upper left corner, `score` in [0, 1]."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float
    label: str
    score: float


@dataclass(frozen=True)
class Boxes:
    """What is in a picture of `width` x `height` pixels, the surest first."""

    boxes: tuple[Box, ...]
    width: int
    height: int


@dataclass(frozen=True)
class Line:
    """A line of text: where, what it says, and by how many degrees it is turned (0 or 180)."""

    box: Box
    text: str = ""
    turned: int = 0


@dataclass(frozen=True)
class Lines:
    """Written text in a picture, from top to bottom."""

    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Recommendation:
    """An item. Of `score` only the order means something.

    `because` are ids of items in the history that it is nearest to, the nearest first.
    """

    id: str
    title: str
    score: float
    because: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recommendations:
    """What a user may like, the best first."""

    items: tuple[Recommendation, ...]


Prediction: TypeAlias = Classes | Spans | Embedding | Score | Boxes | Lines | Recommendations


@dataclass(frozen=True)
class PredictionCall:
    """A call of a model, as it came in; a `version` of "" is the default one.

    `deadline_s` is of the monotonic clock.
    """

    admission_token: str
    request_id: str
    model: str
    version: str
    input: PredictionInput
    options: PredictionOptions
    deadline_s: float | None = None


@dataclass(frozen=True)
class PredictionAnswer:
    """The version that answered, a prediction for each item, and what computing them took."""

    version: str
    predictions: Sequence[Prediction]
    compute_us: int


class Predictions(Protocol):
    """The models of this process that have a task, and who may call them."""

    async def predict(self, call: PredictionCall) -> PredictionAnswer:
        """Answer for every item by one version.

        Raises `Unauthenticated` or `PermissionDenied` where the admission does not allow the call,
        `ModelNotFound`, `InvalidArgument` for items that the model cannot take, and what
        `TensorEngine.infer` says.
        """
        ...
