"""One admitted request, from its admission to its audit record."""

import asyncio
import logging
import math
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self

from weir_gateway.core.call import Call, Finding, Money, Outcome, Piece, Prompt, Started, Usage
from weir_gateway.core.charge import Ending, charged_usage, worst_usage
from weir_gateway.core.closings import Closings
from weir_gateway.core.deadline import Deadline
from weir_gateway.core.ports import Admission, Model, Ports, Record
from weir_gateway.core.progress import Progress
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


class Run:
    """Keeps the promise, however its `async with` block is left: where money may be held, exactly
    one of settle and release follows, and every admitted request is recorded once.
    """

    def __init__(
        self,
        call: Call,
        admission: Admission,
        deadline: Deadline,
        ports: Ports,
        closings: Closings,
        clock: Clock,
    ) -> None:
        self.call = call
        self.admission = admission
        self.deadline = deadline
        self.engine_started = False
        self._policy = ports.policy
        self._billing = ports.billing
        self._closings = closings
        self._clock = clock
        self._started_at_s = clock.now_s()
        self._started_monotonic_s = clock.monotonic_s()
        self._reserving: asyncio.Task[bool] | None = None
        self._closed = False
        self._progress = Progress(0, call.n)
        self._findings: tuple[Finding, ...] = admission.findings

    async def __aenter__(self) -> Self:
        return self

    async def reserve(self, model: Model, prompt: Prompt) -> None:
        """Hold the worst-case price for a little longer than the request may take."""
        self._progress = Progress(len(prompt.token_ids), self.call.n)
        worst = worst_usage(self.call, prompt)
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

    def start(self) -> Started:
        """The engine has started."""
        self.engine_started = True
        return Started(self.call.request_id, self.admission.rate_limit)

    def count(self, piece: Piece) -> None:
        """Take note of a piece that is handed out now."""
        self._progress.count(piece)
        self._findings += piece.findings

    async def finish(self) -> Outcome:
        """Settle a generation that came to its end; the charge is real when this returns."""
        progress = self._progress
        outcome = Outcome(progress.ended(), progress.usage, None, self._findings)
        settling = self._close(Ending.FINISHED, outcome.finish.value)
        return replace(outcome, cost=await asyncio.shield(settling))

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
        usage = charged_usage(
            ending,
            engine_started=self.engine_started,
            usage=self._progress.usage,
            # An answer that is not streamed is handed out at its end.
            released_tokens=self._progress.released_tokens if self.call.streamed else 0,
        )
        request_id = self.call.request_id
        settling = self._closings.start(request_id, self._pay(usage))
        self._closings.start(request_id, self._record(outcome, usage, settling))
        return settling

    async def _pay(self, usage: Usage | None) -> Money | None:
        """Settle, or release where nothing is charged. None: nothing was, or nobody knows yet."""
        if not await self._may_be_held():
            return None
        try:
            if usage is None:
                return await self._closings.attempt(self._release)
            return await self._closings.attempt(partial(self._settle, usage))
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

    async def _settle(self, usage: Usage, timeout_s: float) -> Money:
        return await self._billing.settle(self.call.request_id, self.admission, usage, timeout_s)

    async def _release(self, timeout_s: float) -> None:
        # Without a hold to release, the reservation never reached the ledger: as good.
        with suppress(NotFound):
            await self._billing.release(self.call.request_id, self.admission, timeout_s)

    async def _record(
        self, outcome: str, usage: Usage | None, settling: "asyncio.Task[Money | None]"
    ) -> None:
        duration_ms = (self._clock.monotonic_s() - self._started_monotonic_s) * 1000
        record = Record(
            request_id=self.call.request_id,
            principal=self.admission.principal,
            model=self.call.model,
            outcome=outcome,
            usage=usage or Usage(),
            charged=await settling,
            findings=self._findings,
            trace_id=self.call.trace_id,
            started_at_s=self._started_at_s,
            duration_ms=duration_ms,
        )
        try:
            await self._closings.attempt(partial(self._policy.record, record))
        except (WeirError, TimeoutError) as error:
            log.error("%s was not recorded: %s", record.request_id, type(error).__name__)
