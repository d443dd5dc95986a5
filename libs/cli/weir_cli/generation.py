"""One streamed generation over gRPC, as any client of Weir would ask for it: by the SDK."""

from collections.abc import Callable, Sequence

from weir import AsyncClient, Generation, Message

Input = str | Sequence[Message]

# A little below 1, where small models lose the thread.
TEMPERATURE = 0.7
TOP_P = 0.9


async def stream(
    address: str,
    api_key: str,
    model: str,
    asked: Input,
    max_tokens: int,
    on_text: Callable[[str], None],
    *,
    temperature: float = TEMPERATURE,
) -> Generation:
    """Ask, give each piece of text to `on_text` as it comes, and return the whole."""
    async with (
        AsyncClient(address, api_key) as client,
        client.stream(
            model, asked, max_output_tokens=max_tokens, temperature=temperature, top_p=TOP_P
        ) as pieces,
    ):
        async for text in pieces:
            on_text(text)
        return pieces.result
