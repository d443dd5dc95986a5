"""An upstream's API key, from a file of the operator's."""

from pathlib import Path

KEY_BYTES_MAX = 8192


class BadKey(ValueError):
    """There is no key where one should be. The message names the file and nothing in it."""


def api_key(keys: Path | None, host: str, file: str) -> str:
    """The key in `keys/<host>/<file>`: only the operator decides which host gets which key."""
    if keys is None:
        raise BadKey("upstream.api_key_file is set, and this service has no folder of keys")
    path = keys / host / file
    try:
        with path.open("rb") as opened:
            key = opened.read(KEY_BYTES_MAX + 1).strip()
    except OSError as error:
        kind = type(error).__name__
        raise BadKey(f"upstream.api_key_file: {path} cannot be read ({kind})") from None
    # Anything else could not stand in a header, and the error of whoever refused it would show it.
    if not 1 <= len(key) <= KEY_BYTES_MAX or not all(0x21 <= byte <= 0x7E for byte in key):
        raise BadKey(f"upstream.api_key_file: {path} does not hold one line of printable ASCII")
    return key.decode()
