"""Verification: what the whole ledger adds up to when it is added up again."""

from dataclasses import dataclass

from weir_billing.core.money import Money


@dataclass(frozen=True)
class Verification:
    """A sum per currency and counts of what is wrong; a right ledger has zeros in all but two.

    `wrong_balances` counts accounts whose kept balance is not the sum of their entries, and
    accounts of held money that do not hold exactly what the open holds say. `entries` and
    `open_holds` are sizes.
    """

    sums: tuple[Money, ...]
    entries: int
    unbalanced_transfers: int
    wrong_balances: int
    open_holds: int

    @property
    def is_right(self) -> bool:
        return not (
            any(money.nanos for money in self.sums)
            or self.unbalanced_transfers
            or self.wrong_balances
        )
