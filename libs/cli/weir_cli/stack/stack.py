"""A whole stack: made ready, supervised, and stopped in order."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

import httpx

from weir_cli.failure import Failure
from weir_cli.progress import Progress
from weir_cli.stack import postgres, redis, state
from weir_cli.stack.bootstrap import bootstrap
from weir_cli.stack.home import Home
from weir_cli.stack.model import Model, model_of
from weir_cli.stack.ports import HOST, claimed, free
from weir_cli.stack.program import POLL_S, Program, created_at_s, last_lines
from weir_cli.stack.secrets import Secrets
from weir_cli.stack.services import LAYOUTS, Layout, programs
from weir_cli.stack.state import ProcessState, StackState
from weir_cli.stack.supervisor import Supervisor
from weir_kit.channel import connect

READY_TIMEOUT_S = 30


@dataclass(frozen=True)
class Options:
    """What `weir up` is asked for. Port 0: any free one."""

    processes: bool = False
    model: str | None = None
    quantize: str | None = None
    http_port: int = 8080
    grpc_port: int = 9090


@asynccontextmanager
async def running_stack(home: Home, options: Options, progress: Progress) -> AsyncIterator["Stack"]:
    """A stack that is ready; stopped at the end, whatever the reason.

    Raises `Failure` if it cannot start, or (by ending the body) if a program crashes in a loop.
    """
    model = replace(model_of(options.model), quantize=options.quantize)
    home.make()
    with home.lock():
        for name in state.end_leftovers(home):
            progress.say(f"ended {name}, left over from a stack that was killed")
        stack = Stack(home, _layout(options), model, progress)
        try:
            async with stack.supervisor:
                try:
                    await stack.start()
                    yield stack
                finally:
                    await stack.stop()
        except BaseExceptionGroup as group:
            raise _first(group) from None


class Stack:
    """Its parts and the order among them."""

    def __init__(self, home: Home, layout: Layout, model: Model, progress: Progress) -> None:
        self.home = home
        self.model = model
        self.http_url = f"http://{HOST}:{layout.http_port}"
        self.grpc_address = layout.addresses["gateway"]
        self.api_key = ""
        self.supervisor = Supervisor(self._write_state, progress.say)
        self._layout = layout
        self._progress = progress
        self._secrets = Secrets(home.secrets)
        self._ready = False

    async def start(self) -> None:
        """Start everything that does not wait for another thing side by side."""
        self._secrets.make()
        # Everything else uses it, and it takes 50 ms.
        await self._start(redis.program(self.home), "Redis")
        async with asyncio.TaskGroup() as tasks:
            with_database = []
            for program in programs(self.home, self._layout, self.model):
                if {"policy", "billing"} & set(program.services):
                    with_database.append(program)
                else:
                    tasks.create_task(self._start(program, ", ".join(program.services)))
            tasks.create_task(self._start_with_database(with_database))
        with self._progress.step("gateway's readiness"):
            await self._until_ready()
        self._ready = True
        self._write_state()

    async def stop(self) -> None:
        """Stop what calls before what is called; PostgreSQL last."""
        with self._progress.step("everything stopped"):
            await self.supervisor.stop((*LAYOUTS[self._layout.mode], "redis", "postgres"))
        self.home.state.unlink(missing_ok=True)

    async def _start(self, program: Program, what: str) -> None:
        with self._progress.step(what):
            await self.supervisor.start(program)

    async def _start_with_database(self, services: list[Program]) -> None:
        with self._progress.step("PostgreSQL"):
            await postgres.prepare(self.home)
            await self.supervisor.start(postgres.program(self.home))
            await postgres.create_databases(self.home)
        async with asyncio.TaskGroup() as tasks:
            for program in services:
                tasks.create_task(self._start(program, ", ".join(program.services)))
        addresses = self._layout.addresses
        token = self._secrets.read(self._secrets.service_token)
        async with (
            connect(addresses["policy"], service_token=token) as policy,
            connect(addresses["billing"], service_token=token) as billing,
        ):
            self.api_key = await bootstrap(policy, billing, self._secrets)

    async def _until_ready(self) -> None:
        until_s = time.monotonic() + READY_TIMEOUT_S
        async with httpx.AsyncClient(base_url=self.http_url, timeout=5) as client:
            while time.monotonic() < until_s:
                with suppress(httpx.TransportError):
                    if (await client.get("/readyz")).is_success:
                        return
                await asyncio.sleep(POLL_S)
        log = self.home.logs / "gateway.log"
        log = log if log.exists() else self.home.logs / "services.log"
        raise Failure(f"the gateway is not ready after {READY_TIMEOUT_S} s. {last_lines(log)}")

    def _write_state(self) -> None:
        running = [
            ProcessState(one.program.name, one.pid, one.created_at_s, one.program.services)
            for one in self.supervisor.processes
        ]
        state.write(
            self.home,
            StackState(
                mode=self._layout.mode,
                http_url=self.http_url,
                grpc_address=self.grpc_address,
                model=self.model.name,
                addresses=self._layout.addresses,
                supervisor=ProcessState("weir up", os.getpid(), created_at_s(os.getpid()), ()),
                processes=tuple(running),
                ready=self._ready,
            ),
        )


def _layout(options: Options) -> Layout:
    mode = "processes" if options.processes else "embedded"
    public = next(name for name, services in LAYOUTS[mode].items() if "gateway" in services)
    http_port = claimed(options.http_port, "--http-port")
    ports = {public: claimed(options.grpc_port, "--grpc-port")}
    for process in LAYOUTS[mode]:
        while process not in ports:
            port = free()
            if port not in {http_port, *ports.values()}:
                ports[process] = port
    return Layout(mode, http_port, ports)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The exception that a person should see: the first that is not a group."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
