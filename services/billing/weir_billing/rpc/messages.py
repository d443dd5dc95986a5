"""What several servicers put into their messages."""

from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from weir_billing.core.account import Balance
from weir_billing.core.money import Money
from weir_billing.core.usage import WorkUsage, work_of
from weir_contracts.billing.v1 import account_pb2
from weir_contracts.common.v1 import money_pb2, usage_pb2

Context = grpc.aio.ServicerContext[Any, Any]
MICROSECONDS = 1_000_000


def money(amount: Money) -> money_pb2.Money:
    """An amount."""
    return money_pb2.Money(nanos=amount.nanos, currency_code=amount.currency)


def timestamp(seconds: float) -> Timestamp:
    """A time in seconds since 1970-01-01 UTC, to the microsecond."""
    whole, rest = divmod(round(seconds * MICROSECONDS), MICROSECONDS)
    return Timestamp(seconds=whole, nanos=rest * 1000)


def work(of: usage_pb2.WorkUsage, field: str) -> WorkUsage:
    """The work in a message's `field`. Raises `InvalidArgument` naming the wrong count."""
    return work_of(of.requests, of.items, of.compute_us, field)


def balance(of: Balance) -> account_pb2.Balance:
    """A tenant's balance."""
    return account_pb2.Balance(
        tenant_id=of.tenant_id,
        credit=money(of.credit),
        held=money(of.held),
        available=money(of.available),
    )
