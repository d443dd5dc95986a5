"""What the operator, not a model's folder, says of upstreams."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class OpenAiSettings:
    """How far upstreams are trusted.

    `allow_private`: they may be on private networks or this machine. `keys` is a folder with a
    folder for each host, which holds the key files for it: a key goes to no other host, whatever
    a model's folder says. `requests_max` are under way for a model at once. Pauses between tries
    are drawn from a range that begins with `backoff_s`.
    """

    allow_private: bool = False
    keys: Path | None = None
    requests_max: int = 256
    backoff_s: float = 0.25
