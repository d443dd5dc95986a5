"""The five images are made by one pattern."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SERVICES = ("gateway", "tokenizer", "inference", "policy", "billing")


def instructions(root: Path, service: str) -> list[str]:
    """A Dockerfile's instructions, one string each, without comments."""
    text = (root / f"services/{service}/Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return "\n".join(lines).replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("service", SERVICES)
def test_hadolint_finds_nothing(root: Path, service: str) -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    file = root / "services" / service / "Dockerfile"
    done = subprocess.run([hadolint, file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_differs_from_the_others_only_where_it_must(root: Path, service: str) -> None:
    pattern = [line.replace("policy", service) for line in instructions(root, "policy")]
    extra = [line for line in instructions(root, service) if line not in pattern]
    missing = [line for line in pattern if line not in instructions(root, service)]
    starts = {
        "gateway": ["EXPOSE 8080 50051"],
        "tokenizer": ["COPY services/inference/models /models"],
        "inference": [
            "RUN apt-get update && apt-get install -y --no-install-recommends g++",
            "ARG TORCH_INDEX_URL=",
            "RUN --mount=type=cache,target=/root/.cache/pip",
            "ARG TORCH_INDEX_URL=",
            'RUN [ -n "$TORCH_INDEX_URL" ] ||',
            "COPY services/inference/models /models",
            "RUN install -d -o 10001 -g 10001 /var/lib/weir",
        ],
    }.get(service, [])
    assert [line.startswith(start) for line, start in zip(extra, starts, strict=True)] == [
        True for _ in starts
    ]
    assert missing == (["EXPOSE 50051"] if service == "gateway" else [])


@pytest.mark.parametrize("service", SERVICES)
def test_compose_starts_the_image_as_the_image_starts_itself(
    root: Path, compose: dict[str, Any], service: str
) -> None:
    lines = instructions(root, service)
    (command,) = (json.loads(line[4:]) for line in lines if line.startswith("CMD"))
    assert command == compose["services"][service]["command"]
    assert compose["services"][service]["build"]["dockerfile"] == f"services/{service}/Dockerfile"


@pytest.mark.parametrize("service", SERVICES)
def test_the_health_check_asks_where_the_service_listens(
    root: Path, compose: dict[str, Any], service: str
) -> None:
    (check,) = (line for line in instructions(root, service) if line.startswith("HEALTHCHECK"))
    probe = json.loads(check[check.index("[") :])
    port = compose["services"][service]["environment"]["WEIR_LISTEN"].rpartition(":")[2]
    assert probe == ["python", "-m", "weir_kit.probe", f"127.0.0.1:{port}"]


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_copied_is_in_the_build_context(root: Path, service: str) -> None:
    let_in = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for line in instructions(root, service):
        if line.startswith("COPY") and "--from" not in line:
            source = line.split()[1]
            assert any(source.startswith(entry[1:]) for entry in let_in if entry[0] == "!"), source
            if source != "services/inference/models":
                assert (root / source).exists(), source


def test_the_base_image_is_pinned_and_one(root: Path) -> None:
    bases = {
        line.split()[1]
        for service in SERVICES
        for line in instructions(root, service)
        if line.startswith("FROM")
    }
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", bases.pop())
