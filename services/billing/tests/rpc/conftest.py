"""The billing service as a whole, over the in-process channel."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from weir_billing.config import Config
from weir_billing.service import open_service
from weir_contracts.billing.v1 import (
    account_pb2_grpc,
    billing_pb2_grpc,
    price_pb2,
    price_pb2_grpc,
)
from weir_kit.admission import METADATA_KEY, Admission, AdmissionSigner
from weir_kit.clock import ManualClock
from weir_kit.local import local_channel


class NoPeers:
    """Billing asks nobody."""

    def channel(self, service: str) -> grpc.aio.Channel:
        raise AssertionError(service)


@dataclass
class Client:
    """Stubs of a running service, and admissions for it."""

    billing: "billing_pb2_grpc.BillingServiceAsyncStub"
    account: "account_pb2_grpc.AccountServiceAsyncStub"
    price: "price_pb2_grpc.PriceServiceAsyncStub"
    clock: ManualClock
    signer: AdmissionSigner

    def admitted(self, request_id: str, tenant: str = "a", ttl_s: float = 60) -> Any:
        expires_at_s = self.clock.now_s() + ttl_s
        admission = Admission(request_id, tenant, "project", "key", "tales", expires_at_s)
        return ((METADATA_KEY, self.signer.sign(admission)),)

    async def publish(self) -> None:
        price = price_pb2.Price(
            model="*",
            input_nanos_per_million=10**9,
            output_nanos_per_million=2 * 10**9,
            request_nanos_per_million=3 * 10**9,
            item_nanos_per_million=4 * 10**9,
            compute_second_nanos_per_million=5 * 10**9,
        )
        await self.price.PublishPriceBook(price_pb2.PublishPriceBookRequest(prices=[price]))


@pytest.fixture
async def client(database_url: str, redis_url: str) -> AsyncIterator[Client]:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    config = Config(database_url, redis_url, public, sweep_interval_s=0.05)
    clock = ManualClock()
    async with open_service(config, NoPeers(), clock=clock) as service:
        channel = local_channel(*service.servicers)
        yield Client(
            billing_pb2_grpc.BillingServiceStub(channel),
            account_pb2_grpc.AccountServiceStub(channel),
            price_pb2_grpc.PriceServiceStub(channel),
            clock,
            AdmissionSigner(private),
        )
        await channel.close()
