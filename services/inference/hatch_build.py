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
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma"]
FLAGS = {
    "avx2": ["-mavx2", "-mfma"],
    "avx512": AVX512,
    "avx512bf16": [*AVX512, "-mavx512bf16"],
}


def compile_kernels() -> None:
    """Write native/kernels-*.so; does nothing where that cannot be."""
    compiler = shutil.which("g++")
    if compiler is None or platform.machine() != "x86_64" or sys.platform != "linux":
        print("the native kernels are not compiled: they need g++ on x86-64 Linux")
        return
    command = [compiler, "-std=c++17", "-O3", "-fPIC", "-shared", "-pthread"]
    compilations = [
        subprocess.Popen(  # noqa: S603
            [*command, *flags, "-o", NATIVE / f"kernels-{name}.so", NATIVE / "kernels.cpp"]
        )
        for name, flags in FLAGS.items()
    ]
    if any([compilation.wait() for compilation in compilations]):
        sys.exit("the native kernels do not compile")


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
