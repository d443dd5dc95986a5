"""Traces find their way from the services to Jaeger, and their durations to the dashboard."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

# What the span_metrics connector makes under the namespace `weir`, and the collector itself.
METRICS = {"weir_calls_total", "weir_duration_milliseconds_bucket"}
LABELS = {"service_name", "span_name", "span_kind", "status_code", "le", "__name__"}


def load(root: Path, file: str) -> Any:
    return yaml.safe_load((root / "deploy" / file).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def collector(root: Path) -> Any:
    return load(root, "otel/config.yaml")


@pytest.fixture(scope="module")
def dashboard(root: Path) -> Any:
    return json.loads((root / "deploy/grafana/dashboards/weir.json").read_text(encoding="utf-8"))


def test_pipelines_use_just_what_is_configured(collector: Any) -> None:
    used: dict[str, set[str]] = {"receivers": set(), "processors": set(), "exporters": set()}
    for pipeline in collector["service"]["pipelines"].values():
        for kind, names in pipeline.items():
            used[kind] |= set(names)
    connectors = set(collector["connectors"])
    assert connectors <= used["exporters"] & used["receivers"]
    for kind, names in used.items():
        assert names - connectors == set(collector[kind])


def test_services_send_where_the_collector_listens(collector: Any, compose: dict[str, Any]) -> None:
    port = collector["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].rpartition(":")[2]
    for service in ("gateway", "tokenizer", "inference", "policy", "billing"):
        told = compose["services"][service]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
        assert told == f"http://otel-collector:{port}"


def test_prometheus_fetches_what_the_collector_offers(root: Path, collector: Any) -> None:
    (reader,) = collector["service"]["telemetry"]["metrics"]["readers"]
    own = reader["pull"]["exporter"]["prometheus"]["port"]
    spans = collector["exporters"]["prometheus"]["endpoint"].rpartition(":")[2]
    targets = [
        target
        for job in load(root, "prometheus/prometheus.yaml")["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    ]
    assert sorted(targets) == sorted([f"otel-collector:{own}", f"otel-collector:{spans}"])


def test_traces_go_to_a_service_of_compose(collector: Any, compose: dict[str, Any]) -> None:
    host, _, port = collector["exporters"]["otlp_grpc/jaeger"]["endpoint"].partition(":")
    assert host in compose["services"]
    assert port == "4317"


def test_panels_ask_for_metrics_and_labels_that_exist(collector: Any, dashboard: Any) -> None:
    assert collector["connectors"]["span_metrics"]["namespace"] == "weir"
    assert collector["connectors"]["span_metrics"]["histogram"]["unit"] == "ms"
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            query = target["expr"]
            assert set(re.findall(r"\bweir_\w+", query)) <= METRICS, panel["title"]
            labels = set(re.findall(r"(\w+)=~?\"", query))
            for group in re.findall(r"\bby \(([^)]*)\)", query):
                labels |= {label.strip() for label in group.split(",")}
            assert labels <= LABELS, panel["title"]


def test_panels_ask_the_data_source_that_is_provisioned(root: Path, dashboard: Any) -> None:
    provisioned = load(root, "grafana/provisioning/datasources/datasources.yaml")["datasources"]
    asked = {panel["datasource"]["uid"] for panel in dashboard["panels"]}
    asked |= {target["datasource"]["uid"] for p in dashboard["panels"] for target in p["targets"]}
    assert asked <= {one["uid"] for one in provisioned}


def test_data_sources_are_services_of_compose(root: Path, compose: dict[str, Any]) -> None:
    for one in load(root, "grafana/provisioning/datasources/datasources.yaml")["datasources"]:
        host, _, port = one["url"].removeprefix("http://").partition(":")
        assert compose["services"][host]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_dashboards_are_mounted_where_grafana_looks(root: Path, compose: dict[str, Any]) -> None:
    (provider,) = load(root, "grafana/provisioning/dashboards/dashboards.yaml")["providers"]
    mounts = dict(volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"])
    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]
