"""`weir tenants`: who pays."""

import asyncio
from contextlib import suppress
from typing import Annotated

import typer

from weir_cli.admin import TIMEOUT_S, Admin, admin
from weir_cli.screen import AsJson, moment, out, print_json, print_table
from weir_cli.stack.bootstrap import CURRENCY, PROJECT
from weir_contracts.billing.v1 import account_pb2, account_pb2_grpc
from weir_contracts.policy.v1 import tenant_pb2, tenant_pb2_grpc
from weir_kit.errors import AlreadyExists
from weir_kit.status import raising_weir_errors

PAGE_SIZE = 1000
PAGES_MAX = 100

app = typer.Typer(help="Create and list tenants.", no_args_is_help=True)


@app.command()
def create(
    tenant: Annotated[str, typer.Argument(help="Lower-case letters, digits and hyphens.")],
    project: Annotated[str, typer.Option(help="Its first project, where keys live.")] = PROJECT,
    currency: Annotated[str, typer.Option(help="Its account's currency, ISO 4217.")] = CURRENCY,
    as_json: AsJson = False,
) -> None:
    """Create a tenant with a project and an empty account; what exists of them stays as it is."""
    asyncio.run(_create(tenant, project, currency))
    if as_json:
        print_json({"tenant_id": tenant, "project_id": project, "currency": currency})
        return
    out.print(f"{tenant} can have keys and credit now:")
    out.print(f"  weir keys create --tenant {tenant} --project {project}", soft_wrap=True)
    out.print(f"  weir billing credit 10 --tenant {tenant}", soft_wrap=True)


@app.command(name="list")
def list_tenants(as_json: AsJson = False) -> None:
    """List tenants by id."""
    tenants = asyncio.run(_list())
    if as_json:
        print_json(
            [
                {"tenant_id": one.tenant_id, "created_at_s": one.created_at.seconds}
                for one in tenants
            ]
        )
        return
    print_table(
        ("tenant", "created (UTC)"),
        [(one.tenant_id, moment(one.created_at.seconds)) for one in tenants],
    )


async def _create(tenant: str, project: str, currency: str) -> None:
    """Each step bears repeating, so a call that broke off is mended by the next."""
    async with admin() as stack:
        tenants = _stub(stack)
        with suppress(AlreadyExists), raising_weir_errors():
            request = tenant_pb2.CreateTenantRequest(tenant_id=tenant)
            await tenants.CreateTenant(request, timeout=TIMEOUT_S)
        with suppress(AlreadyExists), raising_weir_errors():
            first = tenant_pb2.CreateProjectRequest(tenant_id=tenant, project_id=project)
            await tenants.CreateProject(first, timeout=TIMEOUT_S)
        accounts = account_pb2_grpc.AccountServiceStub(stack.channel("billing"))
        account = account_pb2.CreateAccountRequest(tenant_id=tenant, currency_code=currency)
        await accounts.CreateAccount(account, timeout=TIMEOUT_S)


async def _list() -> list[tenant_pb2.Tenant]:
    tenants: list[tenant_pb2.Tenant] = []
    async with admin() as stack:
        request = tenant_pb2.ListTenantsRequest(page_size=PAGE_SIZE)
        for _ in range(PAGES_MAX):
            page = await _stub(stack).ListTenants(request, timeout=TIMEOUT_S)
            tenants.extend(page.tenants)
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
    return tenants


def _stub(stack: Admin) -> "tenant_pb2_grpc.TenantServiceAsyncStub":
    return tenant_pb2_grpc.TenantServiceStub(stack.channel("policy"))
