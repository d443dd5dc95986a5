"""What is compared: a model, a batch size, and the peers that can run it."""

from dataclasses import dataclass

PEERS = ("vllm", "llamacpp", "hf")
BATCHES = (1, 8, 32)


@dataclass(frozen=True)
class Cell:
    """A model at a batch size. `settings` are Weir's, `peer_weights` the peers' format."""

    name: str
    model: str
    batch: int
    peers: tuple[str, ...]
    peer_weights: str = "bf16"
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """A model in one format, at every batch size up to `batch_max`."""

    name: str
    model: str
    batch_max: int = 64
    peers: tuple[str, ...] = PEERS
    peer_weights: str = "bf16"
    settings: tuple[str, ...] = ()


COLUMNS = {
    column.name: column
    for column in (
        Column("qwen2-0.5b", "qwen2-0.5b"),
        Column("llama-15m", "llama-15m"),
        Column("qwen2-0.5b-int8", "qwen2-0.5b", 8, ("llamacpp",), "q8_0", ("quantize=int8",)),
    )
}


def cells_of(names: list[str], peers: list[str], batches: list[int]) -> list[Cell]:
    """The cells that were asked for; a column keeps out what it does not have."""
    return [
        Cell(
            column.name,
            column.model,
            batch,
            tuple(peer for peer in peers if peer in column.peers),
            column.peer_weights,
            column.settings,
        )
        for column in (COLUMNS[name] for name in names)
        for batch in batches
        if batch <= column.batch_max
    ]
