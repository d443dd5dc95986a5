"""The tokenizers that are loaded."""

from collections.abc import Iterable, Iterator

from weir_kit.errors import InvalidArgument, ModelNotFound
from weir_tokenizer.core.tokenizer import Tokenizer


class Catalog:
    """Tokenizers by name; fixed once made."""

    def __init__(self, tokenizers: Iterable[Tokenizer]) -> None:
        self._by_name = {one.name: one for one in sorted(tokenizers, key=lambda one: one.name)}

    def __iter__(self) -> Iterator[Tokenizer]:
        """In the order of their names."""
        return iter(self._by_name.values())

    def named(self, name: str) -> Tokenizer:
        """A model's tokenizer. Raises InvalidArgument without a name, ModelNotFound if unknown."""
        if not name:
            raise InvalidArgument(
                "a tokenizer's name is needed: the name of its model", field="tokenizer"
            )
        if name not in self._by_name:
            raise ModelNotFound(
                f"no tokenizer is loaded for the model {name[:128]!r}", field="tokenizer"
            )
        return self._by_name[name]
