"""The inference service's settings, from the environment."""

from collections.abc import Callable
from dataclasses import dataclass

from weir_kit.config import REQUIRED, ConfigError, names, secret_file, setting


@dataclass(frozen=True)
class ModelSource:
    """A model by the name that requests give it, and where it comes from: a folder or a hub id."""

    name: str
    source: str


def model_sources(text: str) -> tuple[ModelSource, ...]:
    """`name=folder_or_hub_id[,name=…]`, each name once."""
    sources = []
    for part in names(text):
        name, _, source = (piece.strip() for piece in part.partition("="))
        if not name or not source:
            raise ValueError(f"{part!r} is not name=folder_or_hub_id")
        sources.append(ModelSource(name, source))
    if len({source.name for source in sources}) != len(sources):
        raise ValueError("a name stands twice")
    return tuple(sources)


def one_of(*allowed: str) -> Callable[[str], str]:
    """Reads one of these words."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"expected one of {', '.join(allowed)}")
        return text

    return parse


def at_least(least: int) -> Callable[[str], int]:
    """Reads a whole number, not below `least`."""

    def parse(text: str) -> int:
        number = int(text)
        if number < least:
            raise ValueError(f"expected {least} or more")
        return number

    return parse


@dataclass(frozen=True)
class Config:
    """All that can be set. The KV memory is per model; on a GPU it is GPU memory."""

    models: tuple[ModelSource, ...] = setting(
        "WEIR_MODELS",
        REQUIRED,
        "name=folder_or_hub_id of each model to serve, with commas between.",
        parse=model_sources,
    )
    admission_public_key: bytes = setting(
        "WEIR_ADMISSION_PUBLIC_KEY_FILE",
        REQUIRED,
        "File with policy's public admission key (Ed25519, PEM).",
        parse=secret_file,
    )
    redis_url: str = setting(
        "WEIR_REDIS_URL", "redis://127.0.0.1:6379/0", "Redis with the meter stream weir:meter."
    )
    device: str = setting(
        "WEIR_INFERENCE_DEVICE",
        "auto",
        "auto, cpu or cuda; auto is cuda where there is a GPU.",
        parse=one_of("auto", "cpu", "cuda"),
    )
    dtype: str = setting(
        "WEIR_INFERENCE_DTYPE",
        "auto",
        "auto, bf16 or fp32; auto is what config.json says.",
        parse=one_of("auto", "bf16", "fp32"),
    )
    threads: int = setting(
        "WEIR_INFERENCE_THREADS",
        0,
        "Threads that torch computes with; 0 is torch's choice.",
        at_least(0),
    )
    kv_mb: int = setting(
        "WEIR_INFERENCE_KV_MB", 256, "KV cache of each model, in MiB.", at_least(1)
    )
    max_running: int = setting(
        "WEIR_INFERENCE_MAX_RUNNING", 32, "Requests of one model in a step, at most.", at_least(1)
    )
    max_queued: int = setting(
        "WEIR_INFERENCE_MAX_QUEUED",
        256,
        "Requests of one model that may wait, at most.",
        at_least(1),
    )
    step_tokens: int = setting(
        "WEIR_INFERENCE_STEP_TOKENS",
        1024,
        "Tokens computed in one step, at most; not below WEIR_INFERENCE_MAX_RUNNING.",
        at_least(1),
    )

    def __post_init__(self) -> None:
        if self.step_tokens < self.max_running:
            raise ConfigError(
                "WEIR_INFERENCE_STEP_TOKENS must be at least WEIR_INFERENCE_MAX_RUNNING, "
                "so that every running request gets its next token in every step"
            )
