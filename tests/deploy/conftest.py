"""What the deployment files say, read once, and what each service can be told."""

import importlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from weir_kit.config import REQUIRED, Setting, settings_of
from weir_kit.host_config import HostConfig

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    """docker-compose.yml, anchors resolved."""
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def settings() -> dict[str, dict[str, Setting]]:
    """By service and variable: every setting that its process reads."""
    found = {}
    for folder in sorted((ROOT / "services").iterdir()):
        config = importlib.import_module(f"weir_{folder.name}.config").Config
        both = [*settings_of(HostConfig), *settings_of(config)]
        found[folder.name] = {one.variable: one for one in both}
    return found


@pytest.fixture(scope="session")
def required(settings: dict[str, dict[str, Setting]]) -> dict[str, set[str]]:
    """By service: the variables that have no default."""
    return {
        service: {name for name, one in known.items() if one.default is REQUIRED}
        for service, known in settings.items()
    }


@pytest.fixture(scope="session")
def libraries_variables() -> set[str]:
    """Variables that no setting of ours reads but a library underneath does: here, libpq."""
    return {"PGSERVICEFILE"}


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that make-secrets.sh makes."""
    folder = tmp_path_factory.mktemp("weir") / "secrets"
    subprocess.run([ROOT / "deploy/docker/make-secrets.sh", folder], check=True)
    return folder
