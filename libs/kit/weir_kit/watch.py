"""Asks the services of a process how they are, and acts on it."""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

from weir_kit.condition import Condition
from weir_kit.health import Health
from weir_kit.inbound import whereabouts
from weir_kit.service import Service

POLL_S = 1.0
EXIT_BROKEN = 70  # EX_SOFTWARE of sysexits.h
logger = logging.getLogger(__name__)


def exit_now() -> NoReturn:
    """End the process without waiting for anybody: a thread that hangs cannot be joined."""
    logging.shutdown()
    os._exit(EXIT_BROKEN)


class Watch:
    """Health follows every service's condition; the process ends with one that is broken.

    A supervisor (`weir up`, compose, Kubernetes) starts it again; callers see their streams end
    with the connection, as UNAVAILABLE. Runs on until `close`, through the drain too: what closes
    in order may hang as well.
    """

    def __init__(
        self,
        health: Health,
        poll_s: float = POLL_S,
        end_process: Callable[[], object] = exit_now,
    ) -> None:
        self._health = health
        self._poll_s = poll_s
        self._end_process = end_process
        self._task: asyncio.Task[None] | None = None

    def start(self, services: Sequence[Service]) -> None:
        """Ask from now on."""
        self._task = asyncio.create_task(self._ask_forever(services))

    async def close(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _ask_forever(self, services: Sequence[Service]) -> None:
        told = [Condition.WELL] * len(services)  # as the server says when it starts
        while True:
            found = [_condition_of(service) for service in services]
            for service, before, now in zip(services, told, found, strict=True):
                if now is not before:
                    logger.warning("%s is %s", service.name, now.value)
                    for servicer in service.servicers:
                        await self._health.tell(servicer.full_name, now is Condition.WELL)
            if found != told:
                await self._health.tell("", all(now is Condition.WELL for now in found))
            if Condition.BROKEN in found:
                logger.critical("a service is broken: the process ends, to be started again")
                self._end_process()
                return
            told = found
            await asyncio.sleep(self._poll_s)


def _condition_of(service: Service) -> Condition:
    try:
        return service.condition()
    except Exception as error:
        logger.error("%s cannot say how it is: %s", service.name, whereabouts(error))
        return Condition.UNWELL
