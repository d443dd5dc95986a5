"""Who a key stands for."""

from dataclasses import dataclass

from weir_policy.core.names import check_key_id, check_resource_id


@dataclass(frozen=True)
class Principal:
    """A key's place: the tenant pays, the project holds the key."""

    tenant_id: str
    project_id: str
    key_id: str

    def check(self, field: str = "principal") -> "Principal":
        """Itself. Raises `InvalidArgument` if an id cannot be one."""
        check_resource_id(self.tenant_id, f"{field}.tenant_id")
        check_resource_id(self.project_id, f"{field}.project_id")
        check_key_id(self.key_id, f"{field}.key_id")
        return self
