"""One admitted request, from its admission to its audit record."""

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Generic, Self, TypeVar

from weir_gateway.core.call import Charge, Finding, Money
from weir_gateway.core.charge import Ending
from weir_gateway.core.closings import Closings
from weir_gateway.core.deadline import Deadline
from weir_gateway.core.ports import Admission, AnyCall, Model, Ports, Record
from weir_kit.clock import Clock
from weir_kit.errors import (
    Conflict,
    InsufficientCredit,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    WeirError,
    wire_of,
)

log = logging.getLogger(__name__)

AsCall = TypeVar("AsCall", bound=AnyCall)

HOLD_MARGIN_S = 30
HOLD_TTL_S_MAX = 3600
DISCONNECTED = "disconnected"
# Billing's refusals: nothing was held. After any other error nobody knows, so the hold is released.
REFUSALS = (
    InsufficientCredit,
    NotFound,
    Conflict,
    InvalidArgument,
    Unauthenticated,
    PermissionDenied,
)


class Run(Generic[AsCall]):
    """Keeps the promise, however its `async with` block is left: where money may be held, exactly
    one of settle and release follows, and every admitted request is recorded once.

    `findings` and `model_version` go into the record as they are when it closes.
    """

    def __init__(
        self,
        call: AsCall,
        admission: Admission,
        deadline: Deadline,
        ports: Ports,
        closings: Closings,
        clock: Clock,
    ) -> None:
        self.call = call
        self.admission = admission
        self.deadline = deadline
        self.findings: tuple[Finding, ...] = admission.findings
        self.model_version = ""
        self._policy = ports.policy
        self._billing = ports.billing
        self._closings = closings
        self._clock = clock
        self._started_at_s = clock.now_s()
        self._started_monotonic_s = clock.monotonic_s()
        self._reserving: asyncio.Task[bool] | None = None
        self._owed: Callable[[Ending], Charge | None] = _nothing
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def reserve(
        self, model: Model, worst: Charge, owed: Callable[[Ending], Charge | None]
    ) -> None:
        """Hold the price of `worst` for a little longer than the request may take.

        `owed` tells what is charged, whenever and however the request ends; None: nothing.
        """
        self._owed = owed
        ttl_s = min(math.ceil(self.call.timeout_s) + HOLD_MARGIN_S, HOLD_TTL_S_MAX)
        timeout_s = self.deadline.remaining_s()
        # In a task that outlives the client: billing may have taken the call already.
        self._reserving = self._closings.start(
            self.call.request_id,
            self._billing.reserve(self.call, model, self.admission, worst, ttl_s, timeout_s),
        )
        if not await asyncio.shield(self._reserving):
            raise Conflict(
                "a request with this request_id has ended already; send a new one",
                field="request_id",
            )

    async def finish(self, outcome: str) -> Money | None:
        """Settle a request that came to its end; the charge is real when this returns.

        None when billing was away: it then charges the hold from the meter when it expires.
        """
        return await asyncio.shield(self._close(Ending.FINISHED, outcome))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._closed:
            return
        if isinstance(error, Exception):
            reason = wire_of(error if isinstance(error, WeirError) else Internal("")).reason
            self._close(Ending.FAILED, reason)
        else:  # CancelledError or GeneratorExit: whoever asked has gone
            self._close(Ending.DISCONNECTED, DISCONNECTED)

    def _close(self, ending: Ending, outcome: str) -> "asyncio.Task[Money | None]":
        assert not self._closed
        self._closed = True
        charge, request_id = self._owed(ending), self.call.request_id
        settling = self._closings.start(request_id, self._pay(charge))
        self._closings.start(request_id, self._record(outcome, charge, settling))
        return settling

    async def _pay(self, charge: Charge | None) -> Money | None:
        """Settle, or release where nothing is charged. None: nothing was, or nobody knows yet."""
        if not await self._may_be_held():
            return None
        try:
            if charge is None:
                return await self._closings.attempt(self._release)
            return await self._closings.attempt(partial(self._settle, charge))
        except (WeirError, TimeoutError) as error:
            # Billing's sweeper closes the hold from the meter record when it expires.
            log.error(
                "%s was not closed at billing: %s", self.call.request_id, type(error).__name__
            )
            return None

    async def _may_be_held(self) -> bool:
        """Whether there may be a hold. Waits for the reservation: nothing may overtake it."""
        if self._reserving is None:
            return False
        [held] = await asyncio.gather(self._reserving, return_exceptions=True)
        # False: the hold of an earlier request, closed by it.
        return held is not False and not isinstance(held, REFUSALS)

    async def _settle(self, charge: Charge, timeout_s: float) -> Money:
        return await self._billing.settle(self.call.request_id, self.admission, charge, timeout_s)

    async def _release(self, timeout_s: float) -> None:
        # Without a hold to release, the reservation never reached the ledger: as good.
        with suppress(NotFound):
            await self._billing.release(self.call.request_id, self.admission, timeout_s)

    async def _record(
        self, outcome: str, charge: Charge | None, settling: "asyncio.Task[Money | None]"
    ) -> None:
        duration_ms = (self._clock.monotonic_s() - self._started_monotonic_s) * 1000
        record = Record(
            request_id=self.call.request_id,
            principal=self.admission.principal,
            model=self.call.model,
            outcome=outcome,
            used=charge,
            charged=await settling,
            findings=self.findings,
            trace_id=self.call.trace_id,
            started_at_s=self._started_at_s,
            duration_ms=duration_ms,
            model_version=self.model_version,
        )
        try:
            await self._closings.attempt(partial(self._policy.record, record))
        except (WeirError, TimeoutError) as error:
            log.error("%s was not recorded: %s", record.request_id, type(error).__name__)


def _nothing(ending: Ending) -> None:
    """What is owed before anything is held."""
