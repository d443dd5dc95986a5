"""make-secrets.sh makes secrets that the services can use, and never changes one."""

import stat
import subprocess
from pathlib import Path

from weir_kit.admission import Admission, AdmissionSigner, AdmissionVerifier


def test_the_two_admission_keys_belong_together(secrets: Path) -> None:
    signer = AdmissionSigner((secrets / "admission_private_key").read_bytes())
    verifier = AdmissionVerifier((secrets / "admission_public_key").read_bytes())
    admission = Admission("req_1", "demo", "default", "key_1", "weir-tales", expires_at_s=60.0)
    assert verifier.verify(signer.sign(admission), now_s=0.0) == admission


def test_service_files_hold_the_passwords(secrets: Path) -> None:
    for service in ("policy", "billing"):
        password = (secrets / f"{service}_db_password").read_text().strip()
        lines = (secrets / f"{service}_pg_service").read_text().splitlines()
        assert lines == ["[weir]", f"password={password}"]


def test_every_secret_is_its_own(secrets: Path) -> None:
    texts = [file.read_bytes() for file in secrets.iterdir()]
    assert len(set(texts)) == len(texts)
    assert min(map(len, texts)) >= 32


def test_the_folder_is_private_and_containers_can_read_the_files(secrets: Path) -> None:
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in secrets.iterdir()} == {0o444}


def test_running_it_again_changes_nothing(root: Path, secrets: Path) -> None:
    before = {file.name: file.read_bytes() for file in secrets.iterdir()}
    subprocess.run([root / "deploy/docker/make-secrets.sh", secrets], check=True)
    assert {file.name: file.read_bytes() for file in secrets.iterdir()} == before


def test_git_ignores_where_secrets_are_kept(root: Path) -> None:
    for folder in ("deploy/docker/secrets", "deploy/k8s/overlays/local/secrets"):
        asked = subprocess.run(["git", "check-ignore", "-q", f"{folder}/service_token"], cwd=root)
        assert asked.returncode == 0, folder
