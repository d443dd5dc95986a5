"""The composition root."""

import socket
from typing import Any

import pytest

from weir_gateway.config import Config
from weir_gateway.service import SPEC, open_service
from weir_kit.config import ConfigError


async def test_the_gateway_serves_its_grpc_services(peers: Any) -> None:
    async with open_service(Config(("127.0.0.1", 0), 5.0), peers) as service:
        names = [servicer.full_name for servicer in service.servicers]
    assert SPEC.name == service.name == "gateway"
    assert names == [
        "weir.gateway.v1.GenerationService",
        "weir.gateway.v1.PredictionService",
        "weir.gateway.v1.ModelService",
        "inference.GRPCInferenceService",
    ]


async def test_a_port_that_is_taken_is_named(peers: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = Config(("127.0.0.1", taken.getsockname()[1]), 5.0)
        with pytest.raises(ConfigError, match="WEIR_HTTP_LISTEN"):
            async with open_service(config, peers):
                pass
