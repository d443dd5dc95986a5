"""What a first start puts in: a tenant with a project, a key, credit and prices.

Every step may be repeated: a second start finds everything there.
"""

from contextlib import suppress

import grpc

from weir_cli.stack.secrets import Secrets, write
from weir_contracts.billing.v1 import account_pb2, account_pb2_grpc, price_pb2, price_pb2_grpc
from weir_contracts.common.v1 import money_pb2
from weir_contracts.policy.v1 import policy_pb2, policy_pb2_grpc, tenant_pb2, tenant_pb2_grpc
from weir_kit.errors import AlreadyExists, InvalidApiKey, NotFound
from weir_kit.ids import RandomIds
from weir_kit.status import raising_weir_errors

TENANT = "demo"
PROJECT = "default"
CURRENCY = "USD"
CREDIT_NANOS = 10_000_000_000
INPUT_NANOS_PER_MILLION = 500_000_000
OUTPUT_NANOS_PER_MILLION = 1_500_000_000
ITEM_NANOS_PER_MILLION = 20_000_000_000
TIMEOUT_S = 10


async def bootstrap(policy: grpc.aio.Channel, billing: grpc.aio.Channel, secrets: Secrets) -> str:
    """Make what is missing; the demo key."""
    with raising_weir_errors():
        await _tenant(policy)
        await _account(billing)
        await _prices(billing)
        return await _demo_key(policy, secrets)


async def _tenant(policy: grpc.aio.Channel) -> None:
    stub = tenant_pb2_grpc.TenantServiceStub(policy)
    with suppress(AlreadyExists), raising_weir_errors():
        tenant = tenant_pb2.CreateTenantRequest(tenant_id=TENANT, display_name="Demo")
        await stub.CreateTenant(tenant, timeout=TIMEOUT_S)
    with suppress(AlreadyExists), raising_weir_errors():
        project = tenant_pb2.CreateProjectRequest(
            tenant_id=TENANT, project_id=PROJECT, display_name="Default"
        )
        await stub.CreateProject(project, timeout=TIMEOUT_S)


async def _account(billing: grpc.aio.Channel) -> None:
    stub = account_pb2_grpc.AccountServiceStub(billing)
    account = account_pb2.CreateAccountRequest(tenant_id=TENANT, currency_code=CURRENCY)
    await stub.CreateAccount(account, timeout=TIMEOUT_S)
    credit = account_pb2.CreditAccountRequest(
        tenant_id=TENANT,
        amount=money_pb2.Money(nanos=CREDIT_NANOS, currency_code=CURRENCY),
        request_id="demo-credit",  # the same at every start: the credit is given once
        description="Credit to try Weir with",
    )
    await stub.CreditAccount(credit, timeout=TIMEOUT_S)


async def _prices(billing: grpc.aio.Channel) -> None:
    stub = price_pb2_grpc.PriceServiceStub(billing)
    try:
        with raising_weir_errors():
            await stub.GetPriceBook(price_pb2.GetPriceBookRequest(), timeout=TIMEOUT_S)
    except NotFound:
        price = price_pb2.Price(
            model="*",
            input_nanos_per_million=INPUT_NANOS_PER_MILLION,
            output_nanos_per_million=OUTPUT_NANOS_PER_MILLION,
            item_nanos_per_million=ITEM_NANOS_PER_MILLION,
        )
        book = price_pb2.PublishPriceBookRequest(currency_code=CURRENCY, prices=[price])
        await stub.PublishPriceBook(book, timeout=TIMEOUT_S)


async def _demo_key(policy: grpc.aio.Channel, secrets: Secrets) -> str:
    kept = secrets.read(secrets.demo_key)
    if kept and await _is_valid(policy, kept):
        return kept
    stub = tenant_pb2_grpc.TenantServiceStub(policy)
    made = await stub.CreateKey(
        tenant_pb2.CreateKeyRequest(
            tenant_id=TENANT, project_id=PROJECT, display_name="Demo key of `weir up`"
        ),
        timeout=TIMEOUT_S,
    )
    write(secrets.demo_key, made.api_key.encode())
    return str(made.api_key)


async def _is_valid(policy: grpc.aio.Channel, api_key: str) -> bool:
    """Whether policy still knows the key: it may be revoked, or its database may be new."""
    stub = policy_pb2_grpc.PolicyServiceStub(policy)
    try:
        with raising_weir_errors():
            request = policy_pb2.AdmitRequest(request_id=RandomIds().new("req"), api_key=api_key)
            await stub.Admit(request, timeout=TIMEOUT_S)
    except InvalidApiKey:
        return False
    return True
