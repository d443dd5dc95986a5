"""The admission: policy's signed, short-lived yes to one request.

A JWT (RFC 7519) signed with Ed25519 (RFC 8037): policy holds the private key; billing and inference
hold only the public one, so neither can make an admission.
"""

from dataclasses import dataclass

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from weir_kit.errors import Unauthenticated

METADATA_KEY = "weir-admission"
ALGORITHM = "EdDSA"
ISSUER = "weir-policy"


@dataclass(frozen=True)
class Admission:
    """Who may do what, until when (seconds since 1970-01-01 UTC)."""

    request_id: str
    tenant_id: str
    project_id: str
    key_id: str
    model: str
    expires_at_s: float


class AdmissionSigner:
    """Makes admissions. Policy alone has one."""

    def __init__(self, private_key_pem: bytes) -> None:
        key = load_pem_private_key(private_key_pem, password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("the admission key must be an Ed25519 private key in PEM")
        self._key = key

    def sign(self, admission: Admission) -> str:
        claims = {
            "iss": ISSUER,
            "jti": admission.request_id,
            "sub": admission.key_id,
            "tenant": admission.tenant_id,
            "project": admission.project_id,
            "model": admission.model,
            "exp": admission.expires_at_s,
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM)


class AdmissionVerifier:
    """Checks admissions against policy's public key."""

    def __init__(self, public_key_pem: bytes) -> None:
        key = load_pem_public_key(public_key_pem)
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("the admission key must be an Ed25519 public key in PEM")
        self._key = key

    def verify(self, token: str, now_s: float, *, allow_expired: bool = False) -> Admission:
        """The admission in `token`. Raises `Unauthenticated`: missing, forged or expired."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                options={"verify_exp": False, "require": ["iss", "jti", "sub", "exp"]},
            )
            admission = Admission(
                request_id=claims["jti"],
                tenant_id=claims["tenant"],
                project_id=claims["project"],
                key_id=claims["sub"],
                model=claims["model"],
                expires_at_s=float(claims["exp"]),
            )
        except (jwt.PyJWTError, KeyError, TypeError, ValueError) as error:
            raise Unauthenticated(
                "the call carries no valid admission (metadata weir-admission)"
            ) from error
        if not allow_expired and admission.expires_at_s < now_s:
            raise Unauthenticated("the admission has expired; ask policy.Admit for another")
        return admission
