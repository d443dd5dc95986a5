"""Only policy's signature makes an admission, and only for a while."""

import dataclasses

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from weir_kit.admission import Admission, AdmissionSigner, AdmissionVerifier
from weir_kit.errors import Unauthenticated

NOW_S = 1_800_000_000.0
ADMISSION = Admission("req_1", "acme", "web", "key_1", "weir-tales", NOW_S + 60)
CLAIMS = {
    "iss": "weir-policy",
    "jti": "req_1",
    "sub": "key_1",
    "tenant": "acme",
    "project": "web",
    "model": "weir-tales",
    "exp": NOW_S + 60,
}


def private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


KEY = Ed25519PrivateKey.generate()
SIGNER = AdmissionSigner(private_pem(KEY))
VERIFIER = AdmissionVerifier(public_pem(KEY))


def test_what_policy_signs_is_read_back() -> None:
    assert VERIFIER.verify(SIGNER.sign(ADMISSION), NOW_S) == ADMISSION


def test_an_expired_admission_is_refused_unless_allowed() -> None:
    token = SIGNER.sign(ADMISSION)
    assert VERIFIER.verify(token, NOW_S + 60) == ADMISSION
    with pytest.raises(Unauthenticated, match="expired"):
        VERIFIER.verify(token, NOW_S + 60.001)
    assert VERIFIER.verify(token, NOW_S + 3600, allow_expired=True) == ADMISSION


def test_another_keys_signature_is_refused() -> None:
    forged = AdmissionSigner(private_pem(Ed25519PrivateKey.generate())).sign(ADMISSION)
    with pytest.raises(Unauthenticated):
        VERIFIER.verify(forged, NOW_S)
    with pytest.raises(Unauthenticated):
        VERIFIER.verify(forged, NOW_S, allow_expired=True)


def test_a_changed_claim_is_refused() -> None:
    header, _, signature = SIGNER.sign(ADMISSION).split(".")
    richer = SIGNER.sign(dataclasses.replace(ADMISSION, tenant_id="other")).split(".")[1]
    with pytest.raises(Unauthenticated):
        VERIFIER.verify(f"{header}.{richer}.{signature}", NOW_S)


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("algorithm", ["none", "HS256", "HS512"])
def test_a_token_signed_in_another_way_is_refused(algorithm: str) -> None:
    # The classic forgery: the public key, which everyone may know, as an HMAC secret.
    public_key = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    secret = None if algorithm == "none" else public_key
    token = jwt.encode(CLAIMS, secret, algorithm=algorithm)
    with pytest.raises(Unauthenticated):
        VERIFIER.verify(token, NOW_S)


@pytest.mark.parametrize("missing", sorted(CLAIMS))
def test_a_token_without_a_claim_is_refused(missing: str) -> None:
    claims = {name: value for name, value in CLAIMS.items() if name != missing}
    with pytest.raises(Unauthenticated):
        VERIFIER.verify(jwt.encode(claims, KEY, algorithm="EdDSA"), NOW_S)


def test_another_issuers_token_is_refused() -> None:
    token = jwt.encode({**CLAIMS, "iss": "someone"}, KEY, algorithm="EdDSA")
    with pytest.raises(Unauthenticated):
        VERIFIER.verify(token, NOW_S)


@pytest.mark.parametrize("value", [None, ["x"], {"a": 1}, "text"])
def test_an_expiry_that_is_no_time_is_refused(value: object) -> None:
    token = jwt.encode({**CLAIMS, "exp": value}, KEY, algorithm="EdDSA")
    with pytest.raises(Unauthenticated):
        VERIFIER.verify(token, NOW_S)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "é", "." * 10])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(Unauthenticated):
        VERIFIER.verify(token, NOW_S)


def test_keys_of_another_kind_are_refused() -> None:
    rsa = generate_private_key(65537, 2048)
    with pytest.raises(ValueError, match="Ed25519"):
        AdmissionSigner(rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ValueError, match="Ed25519"):
        AdmissionVerifier(
            rsa.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
