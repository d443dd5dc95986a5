"""Tenants, their projects and the keys in them."""

from dataclasses import dataclass
from typing import Protocol

from weir_kit.clock import Clock
from weir_kit.errors import AlreadyExists, InvalidArgument, NotFound
from weir_kit.ids import Ids
from weir_policy.core.gcra import REQUESTS_PER_MINUTE_MAX
from weir_policy.core.keys import Draw, Key, KeyHasher, new_api_key, prefix_of
from weir_policy.core.names import (
    check_allowed_models,
    check_display_name,
    check_key_id,
    check_resource_id,
)
from weir_policy.core.paging import Page, make_page, read_page
from weir_policy.core.principal import Principal

KEY_TRIES = 3  # two keys with one prefix are one in 2.8 million millions


@dataclass(frozen=True)
class Tenant:
    """Who pays."""

    tenant_id: str
    display_name: str
    created_at_s: float


@dataclass(frozen=True)
class Project:
    """Where keys live."""

    project_id: str
    tenant_id: str
    display_name: str
    created_at_s: float


@dataclass(frozen=True)
class KeyWish:
    """A key to make."""

    tenant_id: str
    project_id: str
    display_name: str
    allowed_models: tuple[str, ...]
    requests_per_minute: int
    expires_at_s: float | None


class Tenants(Protocol):
    """Where tenants are kept."""

    async def add(self, tenant: Tenant) -> bool:
        """False if the id is taken."""
        ...

    async def exists(self, tenant_id: str) -> bool: ...

    async def after(self, tenant_id: str, limit: int) -> list[Tenant]:
        """By id."""
        ...


class Projects(Protocol):
    """Where projects are kept."""

    async def add(self, project: Project) -> bool:
        """False if the id is taken. Raises `NotFound` if there is no such tenant."""
        ...

    async def after(self, tenant_id: str, project_id: str, limit: int) -> list[Project]:
        """A tenant's, by id."""
        ...


class Keys(Protocol):
    """Where keys are kept."""

    async def add(self, key: Key) -> bool:
        """False if the prefix is taken. Raises `NotFound` if there is no such project."""
        ...

    async def by_prefix(self, prefix: str) -> Key | None: ...

    async def before(self, tenant_id: str, key_id: str, limit: int) -> list[Key]:
        """A tenant's, newest first, older than `key_id` ("": all)."""
        ...

    async def revoke(self, key_id: str, now_s: float) -> Key | None:
        """The key, revoked now or before; None if there is none."""
        ...


class TenantDesk:
    """What can be done with tenants, projects and keys."""

    def __init__(
        self,
        tenants: Tenants,
        projects: Projects,
        keys: Keys,
        *,
        hasher: KeyHasher,
        clock: Clock,
        ids: Ids,
        draw: Draw,
    ) -> None:
        self._tenants, self._projects, self._keys = tenants, projects, keys
        self._hasher, self._clock, self._ids, self._draw = hasher, clock, ids, draw

    async def create_tenant(self, tenant_id: str, display_name: str) -> Tenant:
        """Raises `AlreadyExists`."""
        check_resource_id(tenant_id, "tenant_id")
        check_display_name(display_name)
        tenant = Tenant(tenant_id, display_name or tenant_id, self._clock.now_s())
        if not await self._tenants.add(tenant):
            raise AlreadyExists("there is a tenant with this id", field="tenant_id")
        return tenant

    async def list_tenants(self, page_size: int, page_token: str) -> Page[Tenant]:
        """By id."""
        request = read_page(page_size, page_token, "tenants")
        found = await self._tenants.after(request.after, request.size + 1)
        return make_page(found, request, "tenants", lambda tenant: tenant.tenant_id)

    async def create_project(self, tenant_id: str, project_id: str, display_name: str) -> Project:
        """Raises `AlreadyExists`, and `NotFound` for the tenant."""
        check_resource_id(tenant_id, "tenant_id")
        check_resource_id(project_id, "project_id")
        check_display_name(display_name)
        project = Project(project_id, tenant_id, display_name or project_id, self._clock.now_s())
        if not await self._projects.add(project):
            raise AlreadyExists("the tenant has a project with this id", field="project_id")
        return project

    async def list_projects(self, tenant_id: str, page_size: int, page_token: str) -> Page[Project]:
        """By id. Raises `NotFound` for the tenant."""
        listing = f"projects of {check_resource_id(tenant_id, 'tenant_id')}"
        request = read_page(page_size, page_token, listing)
        found = await self._projects.after(tenant_id, request.after, request.size + 1)
        await self._require_tenant(tenant_id, found)
        return make_page(found, request, listing, lambda project: project.project_id)

    async def create_key(self, wish: KeyWish) -> tuple[Key, str]:
        """The key's record, and the key itself, which is not kept. Raises `NotFound`."""
        now_s = self._clock.now_s()
        _check_wish(wish, now_s)
        for _ in range(KEY_TRIES):
            api_key = new_api_key(self._draw)
            key = Key(
                Principal(wish.tenant_id, wish.project_id, self._ids.new("key")),
                prefix_of(api_key),
                self._hasher.digest(api_key),
                wish.display_name,
                wish.allowed_models,
                wish.requests_per_minute,
                created_at_s=now_s,
                expires_at_s=wish.expires_at_s,
                revoked_at_s=None,
            )
            if await self._keys.add(key):
                return key, api_key
        raise AlreadyExists("no free prefix was found; try again")

    async def list_keys(self, tenant_id: str, page_size: int, page_token: str) -> Page[Key]:
        """Newest first. Raises `NotFound` for the tenant."""
        listing = f"keys of {check_resource_id(tenant_id, 'tenant_id')}"
        request = read_page(page_size, page_token, listing)
        found = await self._keys.before(tenant_id, request.after, request.size + 1)
        await self._require_tenant(tenant_id, found)
        return make_page(found, request, listing, lambda key: key.principal.key_id)

    async def revoke_key(self, key_id: str) -> Key:
        """Effective for every later Admit. Raises `NotFound`."""
        key = await self._keys.revoke(check_key_id(key_id, "key_id"), self._clock.now_s())
        if key is None:
            raise NotFound("there is no key with this id", field="key_id")
        return key

    async def _require_tenant(self, tenant_id: str, found: list[Project] | list[Key]) -> None:
        if not found and not await self._tenants.exists(tenant_id):
            raise NotFound("there is no tenant with this id", field="tenant_id")


def _check_wish(wish: KeyWish, now_s: float) -> None:
    check_resource_id(wish.tenant_id, "tenant_id")
    check_resource_id(wish.project_id, "project_id")
    check_display_name(wish.display_name)
    check_allowed_models(wish.allowed_models, "allowed_models")
    if not 0 <= wish.requests_per_minute <= REQUESTS_PER_MINUTE_MAX:
        raise InvalidArgument(
            f"requests_per_minute must be 0 (no limit) to {REQUESTS_PER_MINUTE_MAX}",
            field="requests_per_minute",
        )
    if wish.expires_at_s is not None and wish.expires_at_s <= now_s:
        raise InvalidArgument("expires_at must be in the future", field="expires_at")
