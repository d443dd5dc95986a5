"""Accounts: their names, and what a tenant has."""

from dataclasses import dataclass

from weir_billing.core.money import Money

# Where all credit comes from: it falls below zero by what tenants were given.
GRANTED = "credit:granted"


def available(tenant_id: str) -> str:
    """The account with what a tenant can still hold."""
    return f"tenant:{tenant_id}:available"


def held(tenant_id: str) -> str:
    """The account with what is held for a tenant's running requests."""
    return f"tenant:{tenant_id}:held"


def revenue(model: str) -> str:
    """The account with what a model has earned."""
    return f"revenue:{model}"


@dataclass(frozen=True)
class Balance:
    """A tenant's money: what can be held, and what is held."""

    tenant_id: str
    available: Money
    held: Money

    @property
    def credit(self) -> Money:
        """All that is not charged, held money included."""
        return self.available + self.held
