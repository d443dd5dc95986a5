"""Where the peers' tools, their installations and the models are."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
PERFORMANCE = REPOSITORY / "tests" / "performance"
SHARED = REPOSITORY.parent / "shared"
WEIR_TALES = REPOSITORY / "services" / "inference" / "models" / "weir-tales"
ASSETS = Path(os.environ.get("WEIR_BENCH_ASSETS") or SHARED / "assets")


def bench_tools() -> Path:
    """The folder of `engine_peer.py` and `make_model.py`: $WEIR_BENCH_TOOLS or ../shared/bench."""
    folder = Path(os.environ.get("WEIR_BENCH_TOOLS") or SHARED / "bench").expanduser()
    if not (folder / "engine_peer.py").exists():
        sys.exit(
            f"{folder} has no engine_peer.py: the peers' tools are not here. "
            "Set WEIR_BENCH_TOOLS to the folder that holds them."
        )
    return folder


def bench_home() -> Path:
    """Where peers and models live: $WEIR_BENCH_HOME, else ~/.cache/weir-bench."""
    home = os.environ.get("WEIR_BENCH_HOME") or Path.home() / ".cache" / "weir-bench"
    return Path(home).expanduser().resolve()


def python_of(contender: str) -> Path:
    """The interpreter that runs a contender: this one for Weir, its own venv's for a peer."""
    if contender == "weir":
        return Path(sys.executable)
    return bench_home() / contender / "venv" / "bin" / "python"


def model_folder(name: str) -> Path:
    """The folder of a random-weight model with all its formats, written if it is not there."""
    folder = bench_home() / "models" / name
    wanted = ["config.json", "model.safetensors", f"{name}-bf16.gguf", f"{name}-q8_0.gguf"]
    if all((folder / file).exists() for file in wanted):
        return folder
    tools_python = python_of("tools")
    if not tools_python.exists():
        sys.exit(
            f"{tools_python} is missing, and the model {name} is not written yet. Install with: "
            f"python {bench_tools() / 'peers.py'} install tools hf vllm llamacpp "
            f"--home {bench_home()}"
        )
    print(f"writing {name} into {folder} …", flush=True)
    script = [tools_python, bench_tools() / "make_model.py", name]
    subprocess.run([*script, "--out", folder.parent, "--gguf", "bf16", "q8_0"], check=True)
    return folder
