"""The stack's secrets, made at the first start and kept in files that only their owner reads."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)


@dataclass(frozen=True)
class Secrets:
    """The files' places. Services get these, never the contents."""

    folder: Path

    @property
    def service_token(self) -> Path:
        return self.folder / "service-token"

    @property
    def pepper(self) -> Path:
        return self.folder / "policy-pepper"

    @property
    def admission_private_key(self) -> Path:
        return self.folder / "admission-private.pem"

    @property
    def admission_public_key(self) -> Path:
        return self.folder / "admission-public.pem"

    @property
    def demo_key(self) -> Path:
        return self.folder / "demo-key"

    def make(self) -> None:
        """Make what is missing; what is there stays."""
        for path in (self.service_token, self.pepper):
            if not path.exists():
                write(path, secrets.token_urlsafe(32).encode())
        if not self.admission_private_key.exists():
            pem = Ed25519PrivateKey.generate().private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            )
            write(self.admission_private_key, pem)
        # Derived at every start, so that the pair cannot come apart.
        private = load_pem_private_key(self.admission_private_key.read_bytes(), password=None)
        public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        write(self.admission_public_key, public)

    def read(self, path: Path) -> str:
        """One secret's text; empty if it is not there."""
        return path.read_text().strip() if path.exists() else ""


def write(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads: whole, or not at all."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
