"""`weir keys`: who may call."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from weir_cli.admin import TIMEOUT_S, Admin, admin
from weir_cli.screen import AsJson, err, moment, out, print_json, print_table
from weir_cli.stack.bootstrap import PROJECT, TENANT
from weir_contracts.policy.v1 import tenant_pb2, tenant_pb2_grpc

PAGE_SIZE = 1000
PAGES_MAX = 100

app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)

Tenant = Annotated[str, typer.Option(help="The tenant that the keys belong to.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="For people.")] = "",
    tenant: Tenant = TENANT,
    project: Annotated[str, typer.Option(help="The project in the tenant.")] = PROJECT,
    model: Annotated[
        list[str] | None, typer.Option(help="A model that it may use; repeat for more. Unset: all.")
    ] = None,
    requests_per_minute: Annotated[int, typer.Option(min=0, help="0: no limit.")] = 0,
    expires_in_days: Annotated[
        float | None, typer.Option(min=0.0, help="Unset: it never ends.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a key. This is the only time that it is shown."""
    request = tenant_pb2.CreateKeyRequest(
        tenant_id=tenant,
        project_id=project,
        display_name=name,
        allowed_models=model or [],
        requests_per_minute=requests_per_minute,
    )
    if expires_in_days is not None:
        request.expires_at.FromDatetime(datetime.now(UTC) + timedelta(days=expires_in_days))
    made = asyncio.run(_create(request))
    if as_json:
        print_json({"api_key": made.api_key, **_fields(made.key)})
        return
    err.print("Keep it now: it is not shown again.")
    out.print(made.api_key, soft_wrap=True)


@app.command(name="list")
def list_keys(tenant: Tenant = TENANT, as_json: AsJson = False) -> None:
    """List keys, newest first, without their secrets. Narrow screens show less; --json has all."""
    keys = [_fields(key) for key in asyncio.run(_list(tenant))]
    if as_json:
        print_json(keys)
        return
    print_table(
        ("key", "begins", "project", "name", "models", "per minute", "created", "state"),
        [
            (
                key["key_id"],
                key["prefix"],
                key["project_id"],
                key["display_name"],
                ", ".join(key["allowed_models"]) or "all",
                key["requests_per_minute"] or "no limit",
                moment(key["created_at_s"]),
                _state_of(key),
            )
            for key in keys
        ],
        optional=("begins", "created", "project", "per minute"),
    )


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, key_…; not the key.")],
    as_json: AsJson = False,
) -> None:
    """Revoke a key: every later request with it is refused."""
    key = _fields(asyncio.run(_revoke(key_id)))
    if as_json:
        print_json(key)
    else:
        out.print(f"{key['key_id']} is revoked")


async def _create(request: tenant_pb2.CreateKeyRequest) -> tenant_pb2.CreateKeyResponse:
    async with admin() as stack:
        return await _stub(stack).CreateKey(request, timeout=TIMEOUT_S)


async def _list(tenant: str) -> list[tenant_pb2.Key]:
    keys: list[tenant_pb2.Key] = []
    async with admin() as stack:
        request = tenant_pb2.ListKeysRequest(tenant_id=tenant, page_size=PAGE_SIZE)
        for _ in range(PAGES_MAX):
            page = await _stub(stack).ListKeys(request, timeout=TIMEOUT_S)
            keys.extend(page.keys)
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
    return keys


async def _revoke(key_id: str) -> tenant_pb2.Key:
    async with admin() as stack:
        request = tenant_pb2.RevokeKeyRequest(key_id=key_id)
        return (await _stub(stack).RevokeKey(request, timeout=TIMEOUT_S)).key


def _stub(stack: Admin) -> "tenant_pb2_grpc.TenantServiceAsyncStub":
    return tenant_pb2_grpc.TenantServiceStub(stack.channel("policy"))


def _fields(key: tenant_pb2.Key) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "prefix": key.prefix,
        "tenant_id": key.tenant_id,
        "project_id": key.project_id,
        "display_name": key.display_name,
        "allowed_models": list(key.allowed_models),
        "requests_per_minute": key.requests_per_minute,
        "created_at_s": key.created_at.seconds,
        "expires_at_s": key.expires_at.seconds or None,
        "revoked_at_s": key.revoked_at.seconds or None,
    }


def _state_of(key: dict[str, Any]) -> str:
    if key["revoked_at_s"]:
        return f"revoked {moment(key['revoked_at_s'])}"
    if key["expires_at_s"]:
        return f"until {moment(key['expires_at_s'])}"
    return "valid"
