"""`make protos`: generate `weir_contracts` from `protos/`; with `--check`, only compare.

Generated modules import each other as `weir.X.v1`, which is the SDK's name; here they live, and
import each other, as `weir_contracts.X.v1`. So does the Open Inference Protocol, `oip.v2`.
"""

import filecmp
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROTOS = ROOT / "protos"
PACKAGE = ROOT / "libs" / "contracts" / "weir_contracts"


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        run_protoc(out)
        rewrite_imports(out)
        (out / "oip").rename(out / "weir" / "oip")
        make_packages(out / "weir")
        if "--check" in sys.argv[1:]:
            check(out / "weir")
            return
        shutil.rmtree(PACKAGE, ignore_errors=True)
        shutil.copytree(out / "weir", PACKAGE)


def check(made: Path) -> None:
    """End with an error that lists every file that differs from what was committed."""
    names = sorted(
        {
            str(file.relative_to(root))
            for root in (made, PACKAGE)
            for file in root.rglob("*")
            if file.is_file() and file.suffix != ".pyc"
        }
    )
    _, differ, missing = filecmp.cmpfiles(made, PACKAGE, names, shallow=False)
    if differ or missing:
        stale = ", ".join(differ + missing)
        sys.exit(f"libs/contracts is not up to date: run `make protos` ({stale})")


def run_protoc(out: Path) -> None:
    """Run the protoc that grpcio-tools carries, with the typed stubs of mypy-protobuf."""
    bin_folder = Path(sys.executable).parent
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"--proto_path={PROTOS}",
        f"--plugin=protoc-gen-mypy={bin_folder / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={bin_folder / 'protoc-gen-mypy_grpc'}",
        f"--python_out={out}",
        f"--grpc_python_out={out}",
        f"--mypy_out=quiet:{out}",
        f"--mypy_grpc_out=quiet:{out}",
        *(str(p.relative_to(PROTOS)) for p in sorted(PROTOS.rglob("*.proto"))),
    ]
    subprocess.run(command, check=True, cwd=PROTOS)


def rewrite_imports(out: Path) -> None:
    for file in [*out.rglob("*.py"), *out.rglob("*.pyi")]:
        text = file.read_text(encoding="utf-8")
        text = re.sub(r"\b(from|import) weir\.", r"\1 weir_contracts.", text)
        text = re.sub(r"\b(from|import) oip\.", r"\1 weir_contracts.oip.", text)
        file.write_text(text, encoding="utf-8")


def make_packages(package: Path) -> None:
    for folder in [package, *(p for p in package.rglob("*") if p.is_dir())]:
        (folder / "__init__.py").write_text('"""Generated; do not edit."""\n', encoding="utf-8")
    (package / "py.typed").touch()


if __name__ == "__main__":
    main()
