"""Whether a safetensors file is whole: its header within bounds, its tensors side by side."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

HEADER_BYTES_MAX = 32 << 20  # some 300,000 tensors; parsed, it takes a multiple of that


def safetensors_fault(path: Path) -> str | None:
    """What is wrong with a file; None if nothing is.

    The library checks on opening that every tensor has the bytes of its shape and datatype, that
    none overlap, and that together they are the file.
    """
    with path.open("rb") as file:
        n_header = int.from_bytes(file.read(8), "little")
    if n_header > HEADER_BYTES_MAX:
        return f"has a header of {n_header} bytes; at most {HEADER_BYTES_MAX} are read"
    try:
        with safe_open(path, framework="np"):
            return None
    except (SafetensorError, OSError) as error:
        return f"is not a whole safetensors file ({error})"
