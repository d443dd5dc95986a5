"""Which model a stack serves."""

import re
from dataclasses import dataclass
from pathlib import Path

from weir_cli.failure import Failure
from weir_cli.stack.wheels import folder_in

DEFAULT_MODEL = "weir-tales"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Model:
    """The name that requests give, a folder or a Hugging Face hub id, and how weights are held.

    `quantize` is as in WEIR_INFERENCE_QUANTIZE; None leaves that to the environment.
    """

    name: str
    source: str
    quantize: str | None = None

    @property
    def setting(self) -> str:
        """As in WEIR_MODELS."""
        return f"{self.name}={self.source}"


def model_of(named: str | None) -> Model:
    """The model that `--model` names, or the default one. Raises `Failure` if it is neither."""
    if named is None:
        return _default()
    folder = Path(named).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise Failure(
                f"--model: {named} has no config.json; name a folder in Hugging Face's form"
            )
        if {",", "="} & set(str(folder.resolve())):
            raise Failure(f"--model: {named} has a comma or an equals sign in its path; move it")
        return Model(folder.resolve().name, str(folder.resolve()))
    if HUB_ID.fullmatch(named):
        return Model(named.split("/")[1], named)
    raise Failure(
        f"--model: {named!r} is no folder and no hub id; give a path or an id such as "
        "HuggingFaceTB/SmolLM2-135M-Instruct"
    )


def repository() -> Path:
    """The models that lie beside the inference service's package, as NAME/VERSION/."""
    return folder_in("weir_inference", ".").parent / "models"


def _default() -> Model:
    """The language model that lies there."""
    folder = repository() / DEFAULT_MODEL
    if not folder.is_dir():
        raise Failure(f"the default model is not there ({folder}); name one with --model")
    return Model(DEFAULT_MODEL, str(folder))
