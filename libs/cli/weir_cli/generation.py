"""One streamed generation over gRPC, as any client of Weir would ask for it: by the SDK."""

from collections.abc import Callable, Sequence

from weir import AsyncClient, Generation, Message

Input = str | Sequence[Message]


async def stream(
    address: str,
    api_key: str,
    model: str,
    asked: Input,
    max_tokens: int,
    on_text: Callable[[str], None],
) -> Generation:
    """Ask, give each piece of text to `on_text` as it comes, and return the whole."""
    async with (
        AsyncClient(address, api_key) as client,
        client.stream(model, asked, max_output_tokens=max_tokens) as pieces,
    ):
        async for text in pieces:
            on_text(text)
        return pieces.result
