"""The Kubernetes manifests fit each other, and tell the services what compose tells them."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

OURS = ("gateway", "tokenizer", "inference", "policy", "billing")
COMPONENTS = ("gpu-node", "ingress", "hpa", "network-policy", "external-data")
Manifest = dict[str, Any]


def documents(file: Path) -> list[Manifest]:
    return [one for one in yaml.safe_load_all(file.read_text(encoding="utf-8")) if one]


def kustomization(folder: Path) -> Manifest:
    (found,) = documents(folder / "kustomization.yaml")
    return found


def resources(folder: Path) -> Iterator[Manifest]:
    """Every resource of a kustomization and of those that it builds on."""
    for name in kustomization(folder).get("resources", []):
        path = (folder / name).resolve()
        yield from resources(path) if path.is_dir() else documents(path)


def environment_of(folder: Path, name: str) -> dict[str, str]:
    """The variables of a generated ConfigMap."""
    pairs: list[str] = []
    for one in kustomization(folder).get("configMapGenerator", []):
        if one["name"] == name:
            pairs += one.get("literals", [])
            for file in one.get("envs", []):
                pairs += (folder / file).read_text(encoding="utf-8").splitlines()
    return dict(pair.split("=", 1) for pair in pairs)


@pytest.fixture(scope="module")
def k8s(root: Path) -> Path:
    return root / "deploy/k8s"


@pytest.fixture(scope="module")
def base(k8s: Path) -> dict[tuple[str, str], Manifest]:
    """The base's resources by kind and name."""
    found = {(one["kind"], one["metadata"]["name"]): one for one in resources(k8s / "base")}
    assert len(found) == len(list(resources(k8s / "base")))
    return found


@pytest.fixture(scope="module")
def secret_keys(k8s: Path) -> dict[str, set[str]]:
    """By Secret of the local overlay: the files in it."""
    made = kustomization(k8s / "overlays/local")["secretGenerator"]
    return {one["name"]: {Path(file).name for file in one["files"]} for one in made}


def pod_of(base: dict[tuple[str, str], Manifest], service: str) -> Manifest:
    pod: Manifest = base["Deployment", service]["spec"]["template"]["spec"]
    return pod


def container_of(base: dict[tuple[str, str], Manifest], service: str) -> Manifest:
    (container,) = pod_of(base, service)["containers"]
    return dict(container)


def environment(k8s: Path, base: dict[tuple[str, str], Manifest], service: str) -> dict[str, str]:
    """What a service's container is told."""
    merged: dict[str, str] = {}
    for source in container_of(base, service)["envFrom"]:
        told = environment_of(k8s / "base", source["configMapRef"]["name"])
        assert told and not set(told) & set(merged)
        merged |= told
    return merged


@pytest.mark.parametrize("service", OURS)
def test_a_service_is_told_what_compose_tells_it(
    k8s: Path,
    base: dict[tuple[str, str], Manifest],
    compose: dict[str, Any],
    service: str,
) -> None:
    in_compose = dict(compose["services"][service]["environment"])
    del in_compose["OTEL_EXPORTER_OTLP_ENDPOINT"]  # the base brings no collector
    assert environment(k8s, base, service) == in_compose


@pytest.mark.parametrize("service", OURS)
def test_a_service_starts_as_in_compose(
    base: dict[tuple[str, str], Manifest], compose: dict[str, Any], service: str
) -> None:
    container = container_of(base, service)
    assert container["command"] == compose["services"][service]["command"]
    assert container["image"] == f"weir-{service}"


def test_images_have_the_tags_that_compose_builds(k8s: Path, compose: dict[str, Any]) -> None:
    tags = {f"{one['name']}:{one['newTag']}" for one in kustomization(k8s / "base")["images"]}
    assert tags == {compose["services"][service]["image"] for service in OURS}


def test_the_stores_are_those_of_compose(
    base: dict[tuple[str, str], Manifest], compose: dict[str, Any]
) -> None:
    for store in ("postgres", "redis"):
        (container,) = base["StatefulSet", store]["spec"]["template"]["spec"]["containers"]
        assert container["image"] == compose["services"][store]["image"]


@pytest.mark.parametrize("service", OURS)
def test_the_secrets_of_a_service_are_mounted_where_it_looks(
    k8s: Path,
    base: dict[tuple[str, str], Manifest],
    secret_keys: dict[str, set[str]],
    compose: dict[str, Any],
    service: str,
) -> None:
    mounts = {one["name"]: one["mountPath"] for one in container_of(base, service)["volumeMounts"]}
    volumes = {one["name"]: one for one in pod_of(base, service)["volumes"]}
    assert set(mounts) == set(volumes)
    assert mounts["secrets"] == "/run/secrets"
    sources = volumes["secrets"]["projected"]["sources"]
    mounted = set().union(*(secret_keys[source["secret"]["name"]] for source in sources))
    assert mounted == set(compose["services"][service]["secrets"])


def test_the_database_server_has_its_secrets_too(
    base: dict[tuple[str, str], Manifest],
    secret_keys: dict[str, set[str]],
    compose: dict[str, Any],
) -> None:
    pod = base["StatefulSet", "postgres"]["spec"]["template"]["spec"]
    names = [one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one]
    assert names == ["postgres"]
    assert secret_keys["postgres"] == set(compose["services"]["postgres"]["secrets"])


def test_selectors_find_their_pods_and_ports(base: dict[tuple[str, str], Manifest]) -> None:
    for (kind, name), one in base.items():
        if kind in {"Deployment", "StatefulSet"}:
            labels = one["spec"]["template"]["metadata"]["labels"]
            assert one["spec"]["selector"]["matchLabels"].items() <= labels.items(), name
        if kind == "Service":
            workload = base.get(("Deployment", name)) or base["StatefulSet", name]
            template = workload["spec"]["template"]
            assert one["spec"]["selector"].items() <= template["metadata"]["labels"].items()
            (container,) = template["spec"]["containers"]
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            assert {p["targetPort"]: p["port"] for p in one["spec"]["ports"]} == ports


@pytest.mark.parametrize("service", OURS)
def test_probes_ask_the_grpc_health_service(
    k8s: Path, base: dict[tuple[str, str], Manifest], service: str
) -> None:
    container = container_of(base, service)
    listen = environment(k8s, base, service)["WEIR_LISTEN"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["grpc"] == {"port": int(listen.rpartition(":")[2])}


def test_callers_balance_over_headless_services(base: dict[tuple[str, str], Manifest]) -> None:
    for service in set(OURS) - {"gateway"}:
        assert base["Service", service]["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize("service", OURS)
def test_our_pods_can_do_little(base: dict[tuple[str, str], Manifest], service: str) -> None:
    pod, container = pod_of(base, service), container_of(base, service)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert "memory" in container["resources"]["limits"]


def test_the_network_policy_lets_in_whoever_must_call(
    k8s: Path, base: dict[tuple[str, str], Manifest]
) -> None:
    label = "app.kubernetes.io/name"
    let_in: dict[str, set[str]] = {}
    for policy in resources(k8s / "components/network-policy"):
        target = policy["spec"]["podSelector"]["matchLabels"].get(label)
        for rule in policy["spec"].get("ingress", []):
            callers = [one["podSelector"]["matchLabels"][label] for one in rule.get("from", [])]
            let_in.setdefault(target, set()).update(callers)
    needed: dict[str, set[str]] = {"gateway": set()}
    for caller in OURS:
        for value in environment(k8s, base, caller).values():
            for callee in re.findall(r"(?:///|@|redis://)([a-z]+):\d", value):
                needed.setdefault(callee, set()).add(caller)
    needed["billing"].add("policy")  # first_key.py
    assert let_in == needed


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_changes_only_what_the_base_has(
    k8s: Path, base: dict[tuple[str, str], Manifest], component: str
) -> None:
    folder = k8s / "components" / component
    one = kustomization(folder)
    assert one["kind"] == "Component"
    for made in one.get("configMapGenerator", []):
        assert made["behavior"] == "merge"
        variables = set(environment_of(folder, made["name"]))
        assert variables <= set(environment_of(k8s / "base", made["name"]))
    for patch in one.get("patches", []):
        if "path" in patch:
            (change,) = documents(folder / patch["path"])
            assert (change["kind"], change["metadata"]["name"]) in base
        else:
            for name in patch["target"]["name"].split("|"):
                assert (patch["target"]["kind"], name) in base


def test_every_file_belongs_to_a_kustomization(k8s: Path) -> None:
    named = set()
    for file in k8s.rglob("kustomization.yaml"):
        one = kustomization(file.parent)
        named |= {file, *(file.parent / name for name in one.get("resources", []))}
        named |= {
            file.parent / patch["path"] for patch in one.get("patches", []) if "path" in patch
        }
        for made in one.get("configMapGenerator", []):
            named |= {file.parent / name for name in made.get("envs", [])}
    kept = {file for file in k8s.rglob("*") if file.suffix in {".yaml", ".env"}}
    assert kept - named == set()
    assert all(file.exists() for file in named)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("component", [None, *COMPONENTS])
def test_kustomize_renders_it(
    root: Path, secrets: Path, tmp_path: Path, component: str | None
) -> None:
    shutil.copytree(root / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns("secrets"))
    overlay = tmp_path / "deploy/k8s/overlays/local"
    shutil.copytree(secrets, overlay / "secrets")
    mine = tmp_path / "deploy/k8s/overlays/mine"
    mine.mkdir()
    chosen = [] if component in {None, "network-policy"} else [f"../../components/{component}"]
    (mine / "kustomization.yaml").write_text(
        yaml.safe_dump({"resources": ["../local"], "components": chosen}), encoding="utf-8"
    )
    done = subprocess.run(["kubectl", "kustomize", mine], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kinds = {one["kind"] for one in yaml.safe_load_all(done.stdout)}
    assert {"Deployment", "Service", "ConfigMap", "Secret", "NetworkPolicy"} <= kinds
