"""An image holds what its packages declare: what they import must be among it."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

SERVICES = ("gateway", "tokenizer", "inference", "policy", "billing")
PACKAGES = {f"services/{name}": f"weir_{name}" for name in SERVICES}
PACKAGES |= {"libs/kit": "weir_kit", "libs/client": "weir", "libs/cli": "weir_cli"}


def normal(requirement: str) -> str:
    """A requirement's distribution, as PyPI compares names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", requirement)[0]).lower()


def brought(requirements: list[str]) -> set[str]:
    """The distributions that are asked for, those of extras (`pyjwt[crypto]`) too."""
    found = set()
    for one in requirements:
        found.add(normal(one))
        for extra in re.findall(r"\[([\w-]+)\]", one):
            of_extra = re.compile(rf"extra == ['\"]{extra}['\"]")
            found |= {normal(r) for r in requires(normal(one)) or [] if of_extra.search(r)}
    return found


def imported(package: Path) -> set[str]:
    """Top-level modules that a package imports, the standard library's left out."""
    found = set()
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {package.name}


@pytest.mark.parametrize("folder", PACKAGES)
def test_what_a_package_imports_is_declared(root: Path, folder: str) -> None:
    project = tomllib.loads((root / folder / "pyproject.toml").read_text())["project"]
    declared = brought(project["dependencies"])
    for group in project.get("optional-dependencies", {}).values():
        declared |= brought(group)
    if "weir-kit" in declared:  # every service stands on the kit, and may use what the kit brings
        declared |= brought(requires("weir-kit") or [])
    provided_by = packages_distributions() | {"weir": ["weir-client"]}
    undeclared = {
        module
        for module in imported(root / folder / PACKAGES[folder])
        if not {normal(name) for name in provided_by.get(module, [module])} & declared
    }
    assert undeclared == set()


def test_every_version_is_pinned(root: Path) -> None:
    lines = (root / "constraints.txt").read_text().splitlines()
    pins = {normal(line) for line in lines if re.fullmatch(r"[\w.-]+==[\w.+!-]+", line)}
    assert len(pins) == len([line for line in lines if not line.startswith("#")])
    for folder in (*PACKAGES, "libs/contracts"):
        project = tomllib.loads((root / folder / "pyproject.toml").read_text())["project"]
        needed = {normal(one) for one in project["dependencies"]}
        assert {name for name in needed if not name.startswith("weir-")} <= pins
