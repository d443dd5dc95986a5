"""The billing service's settings, from environment variables."""

from dataclasses import dataclass

from weir_kit.config import REQUIRED, secret_file, setting

SWEEP_INTERVAL_S_MAX = 3600.0


def sweep_interval_s(text: str) -> float:
    """Seconds above 0 and at most an hour. Raises ValueError."""
    seconds = float(text)
    if not 0 < seconds <= SWEEP_INTERVAL_S_MAX:
        raise ValueError(f"expected more than 0 and at most {SWEEP_INTERVAL_S_MAX:.0f} seconds")
    return seconds


def postgres_url(text: str) -> str:
    """A libpq URL. Raises ValueError, which does not repeat it: it may hold a password."""
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("expected postgresql://…")
    return text


@dataclass(frozen=True)
class Config:
    """Every setting of the service."""

    database_url: str = setting(
        "WEIR_BILLING_DATABASE_URL",
        REQUIRED,
        "PostgreSQL database of the ledger: postgresql://user:password@host:5432/name.",
        parse=postgres_url,
    )
    redis_url: str = setting(
        "WEIR_REDIS_URL", "redis://127.0.0.1:6379/0", "Redis with the meter stream weir:meter."
    )
    admission_public_key: bytes = setting(
        "WEIR_ADMISSION_PUBLIC_KEY_FILE",
        REQUIRED,
        "File with the Ed25519 public key (PEM) that admissions are checked against.",
        parse=secret_file,
    )
    sweep_interval_s: float = setting(
        "WEIR_BILLING_SWEEP_INTERVAL_S",
        5.0,
        "Seconds between two looks for expired holds.",
        parse=sweep_interval_s,
    )
