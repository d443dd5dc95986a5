"""`weir.policy.v1.TenantService`."""

from typing import Any

import grpc

from weir_contracts.policy.v1 import tenant_pb2, tenant_pb2_grpc
from weir_policy.core.keys import Key
from weir_policy.core.tenants import KeyWish, Project, Tenant, TenantDesk
from weir_policy.rpc.proto import timestamp_of_s, us_of_timestamp

Context = grpc.aio.ServicerContext[Any, Any]


class TenantServicer(tenant_pb2_grpc.TenantServiceServicer):
    """Tenants, projects, keys."""

    def __init__(self, desk: TenantDesk) -> None:
        self._desk = desk

    async def CreateTenant(
        self, request: tenant_pb2.CreateTenantRequest, context: Context
    ) -> tenant_pb2.CreateTenantResponse:
        tenant = await self._desk.create_tenant(request.tenant_id, request.display_name)
        return tenant_pb2.CreateTenantResponse(tenant=_tenant_to_proto(tenant))

    async def ListTenants(
        self, request: tenant_pb2.ListTenantsRequest, context: Context
    ) -> tenant_pb2.ListTenantsResponse:
        page = await self._desk.list_tenants(request.page_size, request.page_token)
        return tenant_pb2.ListTenantsResponse(
            tenants=[_tenant_to_proto(tenant) for tenant in page.items],
            next_page_token=page.next_page_token,
        )

    async def CreateProject(
        self, request: tenant_pb2.CreateProjectRequest, context: Context
    ) -> tenant_pb2.CreateProjectResponse:
        project = await self._desk.create_project(
            request.tenant_id, request.project_id, request.display_name
        )
        return tenant_pb2.CreateProjectResponse(project=_project_to_proto(project))

    async def ListProjects(
        self, request: tenant_pb2.ListProjectsRequest, context: Context
    ) -> tenant_pb2.ListProjectsResponse:
        page = await self._desk.list_projects(
            request.tenant_id, request.page_size, request.page_token
        )
        return tenant_pb2.ListProjectsResponse(
            projects=[_project_to_proto(project) for project in page.items],
            next_page_token=page.next_page_token,
        )

    async def CreateKey(
        self, request: tenant_pb2.CreateKeyRequest, context: Context
    ) -> tenant_pb2.CreateKeyResponse:
        key, api_key = await self._desk.create_key(_wish_of_proto(request))
        return tenant_pb2.CreateKeyResponse(key=_key_to_proto(key), api_key=api_key)

    async def ListKeys(
        self, request: tenant_pb2.ListKeysRequest, context: Context
    ) -> tenant_pb2.ListKeysResponse:
        page = await self._desk.list_keys(request.tenant_id, request.page_size, request.page_token)
        return tenant_pb2.ListKeysResponse(
            keys=[_key_to_proto(key) for key in page.items], next_page_token=page.next_page_token
        )

    async def RevokeKey(
        self, request: tenant_pb2.RevokeKeyRequest, context: Context
    ) -> tenant_pb2.RevokeKeyResponse:
        key = await self._desk.revoke_key(request.key_id)
        return tenant_pb2.RevokeKeyResponse(key=_key_to_proto(key))


def _wish_of_proto(request: tenant_pb2.CreateKeyRequest) -> KeyWish:
    expires_at_s = None
    if request.HasField("expires_at"):
        expires_at_s = us_of_timestamp(request.expires_at, "expires_at") / 1e6
    return KeyWish(
        request.tenant_id,
        request.project_id,
        request.display_name,
        tuple(request.allowed_models),
        request.requests_per_minute,
        expires_at_s,
    )


def _tenant_to_proto(tenant: Tenant) -> tenant_pb2.Tenant:
    return tenant_pb2.Tenant(
        tenant_id=tenant.tenant_id,
        display_name=tenant.display_name,
        created_at=timestamp_of_s(tenant.created_at_s),
    )


def _project_to_proto(project: Project) -> tenant_pb2.Project:
    return tenant_pb2.Project(
        project_id=project.project_id,
        tenant_id=project.tenant_id,
        display_name=project.display_name,
        created_at=timestamp_of_s(project.created_at_s),
    )


def _key_to_proto(key: Key) -> tenant_pb2.Key:
    proto = tenant_pb2.Key(
        key_id=key.principal.key_id,
        tenant_id=key.principal.tenant_id,
        project_id=key.principal.project_id,
        prefix=key.prefix,
        display_name=key.display_name,
        allowed_models=key.allowed_models,
        requests_per_minute=key.requests_per_minute,
        created_at=timestamp_of_s(key.created_at_s),
    )
    if key.expires_at_s is not None:
        proto.expires_at.CopyFrom(timestamp_of_s(key.expires_at_s))
    if key.revoked_at_s is not None:
        proto.revoked_at.CopyFrom(timestamp_of_s(key.revoked_at_s))
    return proto
