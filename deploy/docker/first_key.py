"""Make a first tenant with a project, a key, an account with credit, and prices; print the key.

It runs inside the policy container, which can reach policy and billing and holds the service token:

    docker compose exec -T policy python - < deploy/docker/first_key.py
    kubectl -n weir exec -i deploy/policy -- python - < deploy/docker/first_key.py

Options go after the dash: `python - --tenant acme --credit-usd 100`. Running it again makes another
key for the same tenant; the credit of a tenant is given once, and prices are left alone.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import grpc

from weir_contracts.billing.v1 import account_pb2, account_pb2_grpc, price_pb2, price_pb2_grpc
from weir_contracts.common.v1 import money_pb2
from weir_contracts.policy.v1 import tenant_pb2, tenant_pb2_grpc

TIMEOUT_S = 10
NANOS_PER_USD = 1_000_000_000
PRICE = price_pb2.Price(
    model="*",  # nanos per million tokens: 0.50 and 1.50 USD; per million texts or pictures: 20 USD
    input_nanos_per_million=500_000_000,
    output_nanos_per_million=1_500_000_000,
    item_nanos_per_million=20_000_000_000,
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="first_key")
    parser.add_argument("--policy", default="127.0.0.1:50051", help="address of policy")
    parser.add_argument("--billing", default="billing:50051", help="address of billing")
    parser.add_argument("--tenant", default="demo")
    parser.add_argument("--project", default="default")
    parser.add_argument("--credit-usd", type=int, default=10)
    wanted = parser.parse_args()
    with grpc.insecure_channel(wanted.policy) as policy:
        api_key = make_key(tenant_pb2_grpc.TenantServiceStub(policy), wanted.tenant, wanted.project)
    with grpc.insecure_channel(wanted.billing) as billing:
        open_account(account_pb2_grpc.AccountServiceStub(billing), wanted.tenant, wanted.credit_usd)
        publish_prices(price_pb2_grpc.PriceServiceStub(billing))
    print(api_key)


def make_key(tenants: Any, tenant: str, project: str) -> str:
    """A new key in the tenant's project, both made if they are not there."""
    unless(
        grpc.StatusCode.ALREADY_EXISTS,
        tenants.CreateTenant,
        tenant_pb2.CreateTenantRequest(tenant_id=tenant),
    )
    unless(
        grpc.StatusCode.ALREADY_EXISTS,
        tenants.CreateProject,
        tenant_pb2.CreateProjectRequest(tenant_id=tenant, project_id=project),
    )
    made = call(
        tenants.CreateKey,
        tenant_pb2.CreateKeyRequest(
            tenant_id=tenant, project_id=project, display_name="made by first_key.py"
        ),
    )
    return str(made.api_key)


def open_account(accounts: Any, tenant: str, credit_usd: int) -> None:
    """The tenant's account, with its credit; the request id keeps it from being given twice."""
    call(accounts.CreateAccount, account_pb2.CreateAccountRequest(tenant_id=tenant))
    call(
        accounts.CreditAccount,
        account_pb2.CreditAccountRequest(
            tenant_id=tenant,
            amount=money_pb2.Money(nanos=credit_usd * NANOS_PER_USD, currency_code="USD"),
            request_id=f"first-credit-{tenant}",
            description="first credit",
        ),
    )


def publish_prices(prices: Any) -> None:
    """A first price book, if there is none."""
    found = unless(grpc.StatusCode.NOT_FOUND, prices.GetPriceBook, price_pb2.GetPriceBookRequest())
    if found is None:
        request = price_pb2.PublishPriceBookRequest(currency_code="USD", prices=[PRICE])
        call(prices.PublishPriceBook, request)


def unless(expected: grpc.StatusCode, method: Any, request: Any) -> Any:
    """The answer, or None if the call ends with the status `expected`."""
    try:
        return call(method, request)
    except grpc.RpcError as error:
        if error.code() is not expected:
            raise
        return None


def call(method: Any, request: Any) -> Any:
    """The answer to one call between services."""
    token = Path(os.environ["WEIR_SERVICE_TOKEN_FILE"]).read_text(encoding="ascii").strip()
    metadata = [("weir-service-token", token)]
    return method(request, timeout=TIMEOUT_S, metadata=metadata, wait_for_ready=True)


if __name__ == "__main__":
    main()
