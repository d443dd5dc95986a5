"""Every service has the same rooms, so that a newcomer finds the way in each."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SERVICES = sorted(folder.name for folder in (ROOT / "services").iterdir() if folder.is_dir())
FILES = ("pyproject.toml", "README.md", "Dockerfile")
MODULES = ("__init__.py", "__main__.py", "config.py", "service.py", "rpc", "core", "adapters")
VAGUE_NAMES = {"utils", "common", "helpers", "helper", "manager", "base", "misc"}


def test_the_five_services_are_there() -> None:
    assert SERVICES == ["billing", "gateway", "inference", "policy", "tokenizer"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_every_room(service: str) -> None:
    folder = ROOT / "services" / service
    wanted = [folder / name for name in FILES]
    wanted += [folder / f"weir_{service}" / name for name in MODULES]
    wanted += [folder / "tests" / room for room in ("core", "rpc", "adapters")]
    assert [str(p.relative_to(ROOT)) for p in wanted if not p.exists()] == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_found_by_its_entry_point(service: str) -> None:
    project = tomllib.loads((ROOT / "services" / service / "pyproject.toml").read_text())
    entry_points = project["project"]["entry-points"]["weir.services"]
    assert entry_points == {service: f"weir_{service}.service:SPEC"}


def test_no_module_has_a_vague_name() -> None:
    modules = [p for room in ("libs", "services") for p in (ROOT / room).rglob("*.py")]
    named = {p for p in modules if p.stem in VAGUE_NAMES and "weir_contracts" not in p.parts}
    assert named == set()


def test_only_generated_code_lives_in_contracts() -> None:
    package = ROOT / "libs" / "contracts" / "weir_contracts"
    for file in package.rglob("*.py"):
        head = file.read_text(encoding="utf-8")[:400].lower()
        assert "generated" in head, file


def test_rpc_rooms_hold_no_sql_and_no_redis() -> None:
    for file in (ROOT / "services").glob("*/weir_*/rpc/**/*.py"):
        imported = {
            (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        roots = {name.split(".")[0] for name in imported}
        assert not roots & {"psycopg", "redis", "sqlalchemy", "torch"}, file
