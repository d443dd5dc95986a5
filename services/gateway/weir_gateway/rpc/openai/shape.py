"""What differs between chat completions and completions."""

from typing import Any, Protocol

from weir_gateway.core.call import FinishReason
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

    def whole(self, text: str, finish: FinishReason) -> Json:
        """The choice of an answer that is not streamed."""
        ...

    def opening(self) -> Json | None:
        """The choice of the first chunk, before any text; None: there is no such chunk."""
        ...

    def piece(self, text: str) -> Json:
        """The choice of a chunk of text."""
        ...

    def closing(self, finish: FinishReason) -> Json:
        """The choice of the last chunk."""
        ...
