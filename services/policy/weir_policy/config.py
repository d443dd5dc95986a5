"""The policy service's settings, from environment variables."""

from dataclasses import dataclass
from pathlib import Path

from weir_kit.config import REQUIRED, secret_file, setting
from weir_policy.core.rules import RuleSet
from weir_policy.core.rules_file import read_rules

ADMISSION_TTL_S_MAX = 3600
PEPPER_BYTES_MIN = 16


def postgres_url(text: str) -> str:
    """A libpq URL. Raises ValueError, which does not repeat it: it may hold a password."""
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("expected postgresql://…")
    return text


def pepper_file(text: str) -> bytes:
    """The contents of a file with enough of a secret. Raises ValueError or OSError."""
    pepper = secret_file(text)
    if len(pepper) < PEPPER_BYTES_MIN:
        raise ValueError(f"the file has fewer than {PEPPER_BYTES_MIN} bytes")
    return pepper


def ttl_s(text: str) -> float:
    """Seconds above 0 and at most an hour. Raises ValueError."""
    seconds = float(text)
    if not 0 < seconds <= ADMISSION_TTL_S_MAX:
        raise ValueError(f"expected more than 0 and at most {ADMISSION_TTL_S_MAX} seconds")
    return seconds


def rules_file(text: str) -> RuleSet:
    """The rules in a file. Raises ValueError, with the line of the fault, or OSError."""
    return read_rules(Path(text).read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Config:
    """Every setting of the service."""

    database_url: str = setting(
        "WEIR_POLICY_DATABASE_URL",
        REQUIRED,
        "PostgreSQL database of policy: postgresql://user:password@host:5432/name.",
        parse=postgres_url,
    )
    redis_url: str = setting(
        "WEIR_REDIS_URL", "redis://127.0.0.1:6379/0", "Redis that rates are counted in."
    )
    pepper: bytes = setting(
        "WEIR_POLICY_PEPPER_FILE",
        REQUIRED,
        "File with the secret that keys are hashed with; if it changes, every key is void.",
        parse=pepper_file,
    )
    admission_private_key: bytes = setting(
        "WEIR_ADMISSION_PRIVATE_KEY_FILE",
        REQUIRED,
        "File with the Ed25519 private key (PEM) that admissions are signed with.",
        parse=secret_file,
    )
    admission_ttl_s: float = setting(
        "WEIR_ADMISSION_TTL_S", 60.0, "Seconds that an admission is good for.", parse=ttl_s
    )
    rules: RuleSet | None = setting(
        "WEIR_POLICY_RULES_FILE",
        None,
        "YAML file with the content rules; unset: weir_policy/default_rules.yaml.",
        parse=rules_file,
    )
