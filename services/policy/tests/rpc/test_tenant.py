"""TenantService, through its stub."""

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from weir_contracts.policy.v1 import policy_pb2, tenant_pb2
from weir_kit.errors import AlreadyExists, InvalidApiKey, InvalidArgument, NotFound


async def test_tenants_projects_and_keys_are_made_and_listed(policy: Any) -> None:
    tenant = await policy.tenants.CreateTenant(
        tenant_pb2.CreateTenantRequest(tenant_id="zeta", display_name="Zeta Ltd")
    )
    assert tenant.tenant.created_at.seconds == int(policy.clock.now_s())
    listed = await policy.tenants.ListTenants(tenant_pb2.ListTenantsRequest())
    assert [(t.tenant_id, t.display_name) for t in listed.tenants] == [
        ("acme", "acme"),
        ("zeta", "Zeta Ltd"),
    ]
    projects = await policy.tenants.ListProjects(tenant_pb2.ListProjectsRequest(tenant_id="acme"))
    assert [project.project_id for project in projects.projects] == ["web"]


async def test_a_key_is_shown_once(policy: Any) -> None:
    key, api_key = await policy.key(
        display_name="bot", allowed_models=["a", "b"], requests_per_minute=9
    )
    assert api_key.startswith(key.prefix)
    assert not key.HasField("expires_at")
    assert not key.HasField("revoked_at")
    listed = await policy.tenants.ListKeys(tenant_pb2.ListKeysRequest(tenant_id="acme"))
    assert list(listed.keys) == [key]
    assert api_key not in str(listed)


async def test_lists_come_in_pages(policy: Any) -> None:
    made = [(await policy.key())[0].key_id for _ in range(5)]
    seen, token = [], ""
    while True:
        page = await policy.tenants.ListKeys(
            tenant_pb2.ListKeysRequest(tenant_id="acme", page_size=2, page_token=token)
        )
        seen += [key.key_id for key in page.keys]
        token = page.next_page_token
        if not token:
            break
    assert seen == made[::-1]


async def test_a_page_token_is_not_taken_from_another_list(policy: Any, refused: Any) -> None:
    for name in ("beta", "gamma"):
        await policy.tenants.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id=name))
    page = await policy.tenants.ListTenants(tenant_pb2.ListTenantsRequest(page_size=1))
    error = await refused(
        policy.tenants.ListKeys(
            tenant_pb2.ListKeysRequest(tenant_id="acme", page_token=page.next_page_token)
        ),
        InvalidArgument,
    )
    assert error.field == "page_token"


async def test_names_that_are_taken_or_missing_are_told(policy: Any, refused: Any) -> None:
    stub = policy.tenants
    await refused(
        stub.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id="acme")), AlreadyExists
    )
    project = tenant_pb2.CreateProjectRequest(tenant_id="acme", project_id="web")
    await refused(stub.CreateProject(project), AlreadyExists)
    project = tenant_pb2.CreateProjectRequest(tenant_id="none", project_id="web")
    await refused(stub.CreateProject(project), NotFound)
    await refused(
        stub.CreateKey(tenant_pb2.CreateKeyRequest(tenant_id="acme", project_id="no")), NotFound
    )
    await refused(stub.ListKeys(tenant_pb2.ListKeysRequest(tenant_id="none")), NotFound)
    await refused(stub.ListProjects(tenant_pb2.ListProjectsRequest(tenant_id="none")), NotFound)
    await refused(stub.RevokeKey(tenant_pb2.RevokeKeyRequest(key_id="key_none")), NotFound)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tenant_id": "Acme"}, "tenant_id"),
        ({"tenant_id": ""}, "tenant_id"),
        ({"project_id": "-"}, "project_id"),
        ({"display_name": "x" * 129}, "display_name"),
        ({"display_name": "a\x00b"}, "display_name"),
        ({"allowed_models": ["a", "a"]}, "allowed_models"),
        ({"allowed_models": ["a", ""]}, "allowed_models[1]"),
        ({"requests_per_minute": -1}, "requests_per_minute"),
        ({"requests_per_minute": 1_000_001}, "requests_per_minute"),
        ({"expires_at": Timestamp(seconds=1)}, "expires_at"),
        ({"expires_at": Timestamp(nanos=-5)}, "expires_at"),
        ({"expires_at": Timestamp(seconds=2**60)}, "expires_at"),
    ],
)
async def test_a_wrong_field_is_named(
    policy: Any, refused: Any, fields: dict[str, Any], field: str
) -> None:
    request = tenant_pb2.CreateKeyRequest(**{"tenant_id": "acme", "project_id": "web", **fields})
    assert (await refused(policy.tenants.CreateKey(request), InvalidArgument)).field == field


async def test_a_revoked_key_is_refused_at_once_and_revoking_twice_is_fine(
    policy: Any, refused: Any
) -> None:
    key, api_key = await policy.key()
    check = policy_pb2.AdmitRequest(api_key=api_key)
    assert (await policy.policy.Admit(check)).principal.key_id == key.key_id
    revoke = tenant_pb2.RevokeKeyRequest(key_id=key.key_id)
    first = await policy.tenants.RevokeKey(revoke)
    await refused(policy.policy.Admit(check), InvalidApiKey)
    policy.clock.advance(5)
    second = await policy.tenants.RevokeKey(revoke)
    assert first.key.revoked_at == second.key.revoked_at
