"""docker-compose.yml is well formed, names only what exists, and keeps to the house's rules."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from weir_kit.config import Setting

OURS = ("gateway", "tokenizer", "inference", "policy", "billing")
# Their images have no shell and no program to ask for their health with.
WITHOUT_HEALTHCHECK = {"otel-collector", "jaeger"}
PUBLISHED = {"gateway", "jaeger", "prometheus", "grafana"}
SECRETS = "/run/secrets/"


@pytest.mark.parametrize("file", ["docker-compose.yml", "deploy/docker/compose.gpu.yaml"])
def test_the_files_follow_the_compose_specification(root: Path, file: str) -> None:
    check = Path(sys.executable).parent / "check-jsonschema"
    arguments = ["--builtin-schema", "vendor.compose-spec", str(root / file)]
    done = subprocess.run([check, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("service", OURS)
def test_every_variable_is_a_setting_of_its_service(
    compose: dict[str, Any],
    settings: dict[str, dict[str, Setting]],
    required: dict[str, set[str]],
    libraries_variables: set[str],
    service: str,
) -> None:
    environment = set(compose["services"][service]["environment"])
    assert environment - set(settings[service]) - libraries_variables == set()
    assert required[service] - environment == set()


@pytest.mark.parametrize("service", OURS)
def test_every_value_can_be_read(
    compose: dict[str, Any], settings: dict[str, dict[str, Setting]], service: str
) -> None:
    for variable, text in compose["services"][service]["environment"].items():
        one = settings[service].get(variable)
        if one is not None and one.parse is not None and not variable.endswith("_FILE"):
            one.parse(text)


def test_the_gpu_file_changes_only_what_exists(
    root: Path, compose: dict[str, Any], settings: dict[str, dict[str, Setting]]
) -> None:
    gpu = yaml.safe_load((root / "deploy/docker/compose.gpu.yaml").read_text(encoding="utf-8"))
    assert set(gpu["services"]) == {"inference"}
    assert set(gpu["services"]["inference"]["environment"]) <= set(settings["inference"])
    arguments = gpu["services"]["inference"]["build"]["args"]
    dockerfile = (root / "services/inference/Dockerfile").read_text(encoding="utf-8")
    assert all(f"ARG {argument}" in dockerfile for argument in arguments)


def test_addresses_name_services_and_the_ports_they_listen_on(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in OURS:
        for variable, value in services[service]["environment"].items():
            if not re.search(r"_ADDRESS$|_URL$|_ENDPOINT$", variable):
                continue
            url = urlsplit(value)
            netloc = url.path.lstrip("/") if url.scheme == "dns" else url.netloc
            host, _, port = netloc.rpartition("@")[2].partition(":")
            assert host in services, f"{service}: {variable}"
            listens = services[host].get("environment", {}).get("WEIR_LISTEN", "")
            known = {"postgres": "5432", "redis": "6379", "otel-collector": "4317"}
            assert port == known.get(host, listens.rpartition(":")[2]), f"{service}: {variable}"


def test_secrets_come_by_file_and_each_service_has_just_its_own(compose: dict[str, Any]) -> None:
    for service, one in compose["services"].items():
        named = {
            value.removeprefix(SECRETS)
            for value in one.get("environment", {}).values()
            if value.startswith(SECRETS)
        }
        if service == "postgres":
            named |= {"policy_db_password", "billing_db_password"}  # init.sql reads them
        assert set(one.get("secrets", [])) == named, service


def test_no_value_holds_a_secret(compose: dict[str, Any]) -> None:
    for service, one in compose["services"].items():
        for variable, value in one.get("environment", {}).items():
            assert urlsplit(value).password is None, f"{service}: {variable}"
            if re.search(r"(PASSWORD|TOKEN|PEPPER|KEY)(_|$)", variable):
                assert value.startswith(SECRETS), f"{service}: {variable}"


def test_only_policy_can_make_admissions(compose: dict[str, Any]) -> None:
    holders = {
        service
        for service, one in compose["services"].items()
        if {"admission_private_key", "policy_pepper"} & set(one.get("secrets", []))
    }
    assert holders == {"policy"}


def test_every_secret_is_made_and_every_one_made_is_used(
    compose: dict[str, Any], secrets: Path
) -> None:
    assert set(compose["secrets"]) == {file.name for file in secrets.iterdir()}
    for name, one in compose["secrets"].items():
        assert one == {"file": f"deploy/docker/secrets/{name}"}
    used = {name for one in compose["services"].values() for name in one.get("secrets", [])}
    assert used == set(compose["secrets"])


def test_every_service_tells_its_health_where_it_can(root: Path, compose: dict[str, Any]) -> None:
    for service, one in compose["services"].items():
        if service in OURS:
            dockerfile = (root / one["build"]["dockerfile"]).read_text(encoding="utf-8")
            assert "HEALTHCHECK" in dockerfile
        else:
            assert ("healthcheck" in one) == (service not in WITHOUT_HEALTHCHECK), service


def test_services_wait_for_the_health_of_what_they_need(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in OURS:
        waits_for = services[service].get("depends_on", {})
        needs = {
            other
            for other in services
            for value in services[service]["environment"].values()
            if re.search(rf"[/@]{other}:", value) and other != "otel-collector"
        }
        assert set(waits_for) == needs, service
        assert all(wait == {"condition": "service_healthy"} for wait in waits_for.values())


@pytest.mark.parametrize("service", OURS)
def test_our_containers_can_do_little(compose: dict[str, Any], service: str) -> None:
    one = compose["services"][service]
    assert one["read_only"] is True
    assert one["tmpfs"] == ["/tmp"]
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in one and "cap_add" not in one


def test_every_container_is_bounded_and_confined(compose: dict[str, Any]) -> None:
    for service, one in compose["services"].items():
        assert set(one["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}, service
        assert one["cap_drop"] == ["ALL"], service
        assert one["security_opt"] == ["no-new-privileges:true"], service


def test_only_the_gateway_and_the_dashboards_are_reached_from_the_host(
    compose: dict[str, Any],
) -> None:
    assert compose["networks"]["internal"] == {"internal": True}
    for service, one in compose["services"].items():
        published = service in PUBLISHED
        assert set(one["networks"]) == ({"internal", "edge"} if published else {"internal"})
        assert bool(one.get("ports")) == published, service
        assert all(port.startswith("127.0.0.1:") for port in one.get("ports", []))


def test_images_are_pinned(compose: dict[str, Any]) -> None:
    for service, one in compose["services"].items():
        _, _, tag = one["image"].rpartition(":")
        assert re.match(r"v?\d+\.\d+", tag), service


def test_mounted_files_and_volumes_exist(root: Path, compose: dict[str, Any]) -> None:
    for one in compose["services"].values():
        for volume in one.get("volumes", []):
            source = volume.split(":")[0]
            assert (
                (root / source).exists() if source.startswith(".") else source in compose["volumes"]
            )
