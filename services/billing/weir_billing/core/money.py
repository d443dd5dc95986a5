"""Money: an integer of nano currency units (1e-9) and a currency; no float ever."""

from dataclasses import dataclass

NANOS = 1_000_000_000
# What a signed 64-bit column and `weir.common.v1.Money` can carry.
NANOS_MAX = 2**63 - 1


@dataclass(frozen=True)
class Money:
    """An exact amount. Amounts of two currencies never meet: an assertion says so."""

    nanos: int
    currency: str

    def __add__(self, other: "Money") -> "Money":
        assert self.currency == other.currency, "two currencies cannot be added"
        return Money(self.nanos + other.nanos, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return self + -other

    def __neg__(self) -> "Money":
        return Money(-self.nanos, self.currency)

    def __str__(self) -> str:
        """For people: `0.0015 USD`, without zeros at the end."""
        sign = "-" if self.nanos < 0 else ""
        units, rest = divmod(abs(self.nanos), NANOS)
        fraction = f".{rest:09d}".rstrip("0").rstrip(".")
        return f"{sign}{units}{fraction} {self.currency}"


def divide_half_even(numerator: int, denominator: int) -> int:
    """`numerator / denominator` rounded to the nearest integer, ties to the even one.

    Half-even (IEEE 754 roundTiesToEven) favours neither side over many charges.
    """
    assert denominator > 0
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    if twice > denominator or (twice == denominator and quotient % 2):
        return quotient + 1
    return quotient
