"""Where a stack keeps its data: `$WEIR_HOME`, or `~/.weir`."""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from weir_cli.failure import Failure

# sockaddr_un holds 108 bytes on Linux and 104 on macOS; the longest name that we put in the folder
# is PostgreSQL's lock file, `.s.PGSQL.5432.lock`.
SOCKET_FOLDER_LENGTH_MAX = 80
LOG_BYTES_MAX = 8 * 1024 * 1024


@dataclass(frozen=True)
class Home:
    """The folder and the places in it."""

    folder: Path

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def redis(self) -> Path:
        return self.folder / "redis"

    @property
    def models(self) -> Path:
        """What inference fetched, and what was decided on models."""
        return self.folder / "models"

    @property
    def postgres(self) -> Path:
        """PostgreSQL's data, under its major version: the format belongs to it."""
        return self.folder / "postgres" / "18"

    @property
    def state(self) -> Path:
        return self.run / "stack.json"

    @property
    def sockets(self) -> Path:
        """Where unix sockets go: a short path of our own, because the kernel limits its length."""
        if len(os.fsencode(self.run)) <= SOCKET_FOLDER_LENGTH_MAX:
            return self.run
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"weir-{os.getuid()}-{name}"

    def make(self) -> None:
        """Make every folder that is missing. Raises `Failure` if that is not possible."""
        try:
            for folder in (self.folder, self.run, self.logs, self.redis):
                folder.mkdir(parents=True, exist_ok=True)
            self.secrets.mkdir(mode=0o700, exist_ok=True)
            self.sockets.mkdir(exist_ok=True)
        except OSError as error:
            raise Failure(f"WEIR_HOME ({self.folder}) cannot be used: {error}") from error
        # The folder in /tmp has a name that others can guess: it must not be theirs.
        if self.sockets.stat().st_uid != os.getuid():
            raise Failure(f"{self.sockets} belongs to somebody else; choose a shorter WEIR_HOME")

    def log(self, name: str) -> Path:
        """The log of a process; what was there is kept as `.old` once it is long."""
        log = self.logs / f"{name}.log"
        if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
            log.replace(log.with_suffix(".log.old"))
        return log

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the home for this process. Raises `Failure` if another holds it.

        The kernel lets go of the lock when the process ends, however it ends.
        """
        with (self.run / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Failure(
                    f"a stack runs already in {self.folder}; end it with Ctrl-C there, "
                    "or choose another WEIR_HOME"
                ) from error
            yield

    def locked(self) -> bool:
        """Whether some process holds the home."""
        path = self.run / "lock"
        if not path.exists():
            return False
        with path.open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def home_of(environ: Mapping[str, str] = os.environ) -> Home:
    """The home that the environment names."""
    named = environ.get("WEIR_HOME", "").strip()
    return Home(Path(named).expanduser().resolve() if named else Path.home() / ".weir")
