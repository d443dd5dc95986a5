"""Which models can answer a call."""

from collections.abc import Collection

from weir_gateway.core.ports import Model
from weir_kit.errors import InvalidArgument, ModelNotFound


def check_generates(model: Model, version: str = "") -> None:
    """Raise `InvalidArgument` for a model that does not generate, `ModelNotFound` for a version."""
    if not model.generates:
        raise InvalidArgument(
            f"the model {model.name!r} does {model.task}, it generates no text: ask it for a "
            "prediction",
            field="model",
        )
    if version and version != model.version:
        has = f"version {model.version!r} is loaded" if model.version else "it has no versions"
        raise ModelNotFound(
            f"the model {model.name!r} has no version {version!r} here: {has}", field="version"
        )


def check_predicts(model: Model, tasks: Collection[str]) -> None:
    """Raise `InvalidArgument` for a model that generates, or does none of `tasks` if there are."""
    if model.generates:
        raise InvalidArgument(
            f"the model {model.name!r} does {model.task}: ask it for a completion, not for a "
            "prediction",
            field="model",
        )
    if tasks and model.task not in tasks:
        raise InvalidArgument(
            f"the model {model.name!r} does {model.task}; this needs one for {' or '.join(tasks)}",
            field="model",
        )
