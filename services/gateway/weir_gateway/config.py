"""The gateway's configuration, from environment variables only."""

from dataclasses import dataclass

from weir_kit.config import setting

TIMEOUT_S_MAX = 3600.0


def http_address(text: str) -> tuple[str, int]:
    """`host:port`, or `[address]:port` for IPv6."""
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 65536):
        raise ValueError("expected host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def timeout(text: str) -> float:
    """Seconds, more than 0."""
    seconds = float(text)
    if not 0 < seconds <= TIMEOUT_S_MAX:
        raise ValueError(f"expected seconds, more than 0 and at most {TIMEOUT_S_MAX:g}")
    return seconds


@dataclass(frozen=True)
class Config:
    """Every setting of the gateway; `http_listen` is host and port."""

    http_listen: tuple[str, int] = setting(
        "WEIR_HTTP_LISTEN",
        ("127.0.0.1", 8080),
        "host:port of the HTTP server (port 0: any that is free).",
        parse=http_address,
    )
    request_timeout_s: float = setting(
        "WEIR_REQUEST_TIMEOUT_S",
        120.0,
        "Seconds that a request may take, from its arrival to its last word.",
        parse=timeout,
    )
