"""The health probe against a real gRPC server."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from weir_kit.probe import main

STATUS = health_pb2.HealthCheckResponse


@pytest.fixture
def servicer() -> health.HealthServicer:
    return health.HealthServicer()


@pytest.fixture
def address(servicer: health.HealthServicer) -> Iterator[str]:
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


def test_a_serving_server_is_healthy(address: str) -> None:
    assert main([address]) == 0


def test_a_draining_server_is_not_healthy(
    address: str, servicer: health.HealthServicer, capsys: pytest.CaptureFixture[str]
) -> None:
    servicer.enter_graceful_shutdown()
    assert main([address]) == 1
    assert "NOT_SERVING" in capsys.readouterr().err


def test_one_service_is_asked_for_by_name(address: str, servicer: health.HealthServicer) -> None:
    servicer.set("weir.policy.v1.PolicyService", STATUS.SERVING)
    assert main([address, "weir.policy.v1.PolicyService"]) == 0
    assert main([address, "weir.policy.v1.NoSuchService"]) == 1


def test_nobody_there_is_not_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["127.0.0.1:1"]) == 1
    assert "UNAVAILABLE" in capsys.readouterr().err


def test_a_wrong_command_line_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err
