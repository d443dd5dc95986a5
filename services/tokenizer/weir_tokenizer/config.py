"""The tokenizer service's settings, from environment variables."""

from dataclasses import dataclass

from weir_kit.config import REQUIRED, names, setting


@dataclass(frozen=True)
class ModelSource:
    """A model's name and where its files are: a folder or a Hugging Face id."""

    name: str
    source: str


def model_sources(text: str) -> tuple[ModelSource, ...]:
    """Read `name=folder_or_hub_id[,name=…]`. Raises ValueError saying what is wrong."""
    sources = []
    for entry in names(text):
        name, equals, source = (part.strip() for part in entry.partition("="))
        if not (name and equals and source):
            raise ValueError(f"expected name=folder_or_hub_id, not {entry!r}")
        sources.append(ModelSource(name, source))
    if len({source.name for source in sources}) < len(sources):
        raise ValueError("a name stands there twice")
    return tuple(sources)


@dataclass(frozen=True)
class Config:
    """Every setting of the service."""

    models: tuple[ModelSource, ...] = setting(
        "WEIR_MODELS",
        REQUIRED,
        "Models to load the tokenizers of: name=folder_or_hub_id[,name=…].",
        parse=model_sources,
    )
