from pathlib import Path

from weir_cli.stack.secrets import Secrets, write
from weir_kit.admission import Admission, AdmissionSigner, AdmissionVerifier


def test_the_first_start_makes_secrets_that_only_their_owner_reads(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path)
    secrets.make()
    made = sorted(path.name for path in tmp_path.iterdir())
    assert made == [
        "admission-private.pem",
        "admission-public.pem",
        "policy-pepper",
        "service-token",
    ]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())


def test_a_second_start_keeps_them(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path)
    secrets.make()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    secrets.make()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_pair_signs_and_verifies_admissions(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path)
    secrets.make()
    admission = Admission("req_1", "demo", "default", "key_1", "weir-tales", 2000.0)
    token = AdmissionSigner(secrets.admission_private_key.read_bytes()).sign(admission)
    verifier = AdmissionVerifier(secrets.admission_public_key.read_bytes())
    assert verifier.verify(token, now_s=1000.0) == admission


def test_a_secret_replaces_the_old_one_whole(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path)
    assert secrets.read(secrets.demo_key) == ""
    write(secrets.demo_key, b"weir_sk_one")
    write(secrets.demo_key, b"weir_sk_two")
    assert secrets.read(secrets.demo_key) == "weir_sk_two"
    assert [path.name for path in tmp_path.iterdir()] == ["demo-key"]
