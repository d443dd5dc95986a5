"""What differs between chat completions and completions."""

from typing import Any, Protocol

from weir_gateway.core.call import Choice, FinishReason, Piece
from weir_gateway.rpc.openai.fields import Fields
from weir_gateway.rpc.openai.wanted import Wanted

Json = dict[str, Any]


class Shape(Protocol):
    """How one of OpenAI's endpoints asks and answers. A choice is an entry of `choices`."""

    path: str
    whole_object: str
    chunk_object: str

    def read(self, fields: Fields) -> Wanted:
        """A request's body. Raises `InvalidArgument`."""
        ...

    def whole(self, index: int, choice: Choice, *, logprobs: bool) -> Json:
        """A choice of an answer that is not streamed; `logprobs`: they were asked for."""
        ...

    def opening(self, index: int) -> Json | None:
        """The choice of the first chunk, before any text; None: there is no such chunk."""
        ...

    def piece(self, piece: Piece) -> Json:
        """The choice of a chunk of text."""
        ...

    def closing(self, index: int, finish: FinishReason) -> Json:
        """The choice of its last chunk."""
        ...
