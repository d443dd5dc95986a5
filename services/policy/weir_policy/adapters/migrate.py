"""Migrations: bring the database to the newest schema when the service starts."""

from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

FOLDER = Path(__file__).parent / "migrations"
# Any number, always the same: replicas that start together take turns.
LOCK_KEY = 0x7765_6972_0002


def migrate(database_url: str, revision: str = "head") -> None:
    """Run what is missing up to `revision`, one process at a time; blocks.

    `database_url` is a libpq URL.
    """
    # psycopg reads the URL, so that it means here what it means to the pool.
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(database_url), poolclass=NullPool
    )
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.set_main_option("path_separator", "os")
    try:
        with engine.connect() as connection:
            # The session's end gives the lock back, however it ends.
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_KEY})
            connection.commit()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    finally:
        engine.dispose()
