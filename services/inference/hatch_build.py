"""Compiles the native kernels when the package is built or installed, one library a CPU family.

Without g++, or on another kind of machine, the package installs without them and computes by torch.
Also run by hand after a change of the kernels: `python services/inference/hatch_build.py`.
"""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

NATIVE = Path(__file__).parent / "weir_inference/adapters/engines/torch/native"
FLAGS = {
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma"],
}


def compile_kernels() -> None:
    """Write native/kernels-*.so; does nothing where that cannot be."""
    compiler = shutil.which("g++")
    if compiler is None or platform.machine() != "x86_64" or sys.platform != "linux":
        print("the native kernels are not compiled: they need g++ on x86-64 Linux")
        return
    for name, flags in FLAGS.items():
        command = [
            *(compiler, "-std=c++17", "-O3", "-fPIC", "-shared", "-pthread", *flags),
            *("-o", str(NATIVE / f"kernels-{name}.so"), str(NATIVE / "kernels.cpp")),
        ]
        subprocess.run(command, check=True)  # noqa: S603


if __name__ == "__main__":
    compile_kernels()
else:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    class CompileKernels(BuildHookInterface):  # type: ignore[type-arg]
        """Hatchling's hook: the wheel is then for this kind of machine."""

        def initialize(self, version: str, build_data: dict[str, object]) -> None:
            """See hatchling."""
            del version
            compile_kernels()
            if any(NATIVE.glob("*.so")):
                build_data["pure_python"] = False
                build_data["infer_tag"] = True
