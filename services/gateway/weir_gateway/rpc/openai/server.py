"""The HTTP server, on the event loop of the process."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

CONNECTIONS_MAX = 8192
BACKLOG = 1024
IDLE_S = 75
DRAIN_S = 10
LATE_S = 1.0


@asynccontextmanager
async def serve_http(app: ASGIApp, host: str, port: int) -> AsyncGenerator[str, None]:
    """Serve `app` on `host:port` (0: any free port); yields the address.

    In the end it takes no more connections, gives running requests `DRAIN_S` seconds, and cancels
    what is left. Raises OSError if the address cannot be had.
    """
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=DRAIN_S,
        limit_concurrency=CONNECTIONS_MAX,
    )
    with _listening(host, port) as listener:
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await server.accepting.wait()
            yield "{}:{}".format(*listener.getsockname()[:2])
        finally:
            server.should_exit = True
            await serving
            if late := server.server_state.tasks:  # cancelled, and not yet over
                await asyncio.wait(late, timeout=LATE_S)


class _Server(uvicorn.Server):
    """uvicorn, without a hand in the process's signals: the host has those."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets=sockets)
        finally:
            self.accepting.set()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@contextmanager
def _listening(host: str, port: int) -> Generator[socket.socket, None, None]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=BACKLOG) as listener:
        yield listener
