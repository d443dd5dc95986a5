"""The inference service's settings, from the environment."""

from collections.abc import Callable
from dataclasses import dataclass

from weir_kit.config import REQUIRED, ConfigError, names, secret_file, setting

DRAFT_TOKENS_MAX = 16


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


def draft_tokens(text: str) -> int:
    """0 to `DRAFT_TOKENS_MAX`."""
    number = int(text)
    if not 0 <= number <= DRAFT_TOKENS_MAX:
        raise ValueError(f"expected 0 to {DRAFT_TOKENS_MAX}")
    return number


def seconds(text: str) -> float:
    """Above 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError("expected seconds, above 0")
    return number


def on_or_off(text: str) -> bool:
    """`on` or `off`."""
    return one_of("on", "off")(text) == "on"


@dataclass(frozen=True)
class Config:
    """All that can be set. The KV memory is per model; on a GPU it is GPU memory."""

    models: tuple[ModelSource, ...] = setting(
        "WEIR_MODELS",
        (),
        "name=source of each model to serve whatever the repository holds, with commas between; "
        "a folder, a hub id, or a URL of fsspec.",
        parse=model_sources,
    )
    repository: str = setting(
        "WEIR_MODEL_REPOSITORY", "", "Folder of models as NAME/VERSION/; empty: none."
    )
    model_state: str = setting(
        "WEIR_MODEL_STATE",
        "",
        "Folder for what is loaded and decided at run time, which then survives a restart; "
        "empty: a temporary one.",
    )
    model_mb: int = setting(
        "WEIR_INFERENCE_MODEL_MB",
        4096,
        "Memory for all models of the repository, in MiB; idle ones make room.",
        at_least(1),
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
    quantize: str = setting(
        "WEIR_INFERENCE_QUANTIZE",
        "none",
        "none, int8 or int4: how weights are held, quantized when they are loaded.",
        parse=one_of("none", "int8", "int4"),
    )
    kernels: str = setting(
        "WEIR_INFERENCE_KERNELS",
        "auto",
        "auto, native or torch: what computes on the CPU; auto is native where it was built.",
        parse=one_of("auto", "native", "torch"),
    )
    cuda_graphs: bool = setting(
        "WEIR_INFERENCE_CUDA_GRAPHS",
        True,
        "on or off: on a GPU, steps of decoding alone run as CUDA graphs.",
        parse=on_or_off,
    )
    threads: int = setting(
        "WEIR_INFERENCE_THREADS",
        0,
        "Threads that torch computes with; 0 is torch's choice.",
        at_least(0),
    )
    pin_threads: bool = setting(
        "WEIR_INFERENCE_PIN_THREADS",
        False,
        "on or off: each thread of the native kernels keeps to one of the process's CPUs.",
        parse=on_or_off,
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
    max_queued_tokens: int = setting(
        "WEIR_INFERENCE_MAX_QUEUED_TOKENS",
        262_144,
        "Prompt tokens of one model's waiting requests together, at most.",
        at_least(1),
    )
    step_tokens: int = setting(
        "WEIR_INFERENCE_STEP_TOKENS",
        256,
        "Tokens computed in one step, at most; not below WEIR_INFERENCE_MAX_RUNNING.",
        at_least(1),
    )
    prefix_caching: bool = setting(
        "WEIR_INFERENCE_PREFIX_CACHING",
        True,
        "on or off: a prompt's beginning that the same tenant sent before is not computed again.",
        parse=on_or_off,
    )
    draft_tokens: int = setting(
        "WEIR_INFERENCE_DRAFT_TOKENS",
        4,
        "Tokens guessed in a step for each request, at most, by prompt look-up; 0 is off.",
        parse=draft_tokens,
    )
    upstream_private: bool = setting(
        "WEIR_INFERENCE_UPSTREAM_PRIVATE",
        False,
        "on or off: upstreams of the engine openai may be on private networks or this machine.",
        parse=on_or_off,
    )
    upstream_keys: str = setting(
        "WEIR_INFERENCE_UPSTREAM_KEYS",
        "",
        "Folder with a folder for each upstream's host, which holds the key files for it.",
    )
    stall_exit_s: float = setting(
        "WEIR_INFERENCE_STALL_EXIT_S",
        30.0,
        "Seconds that a step may take before the process ends, to be started again.",
        parse=seconds,
    )

    def __post_init__(self) -> None:
        if not (self.models or self.repository):
            raise ConfigError(
                "set WEIR_MODELS or WEIR_MODEL_REPOSITORY: there is no model to serve"
            )
        if self.step_tokens < self.max_running:
            raise ConfigError(
                "WEIR_INFERENCE_STEP_TOKENS must be at least WEIR_INFERENCE_MAX_RUNNING, "
                "so that every running request gets its next token in every step"
            )
