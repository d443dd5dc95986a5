"""TCP ports of this machine, for the loopback interface alone."""

import random
import socket

from weir_cli.failure import Failure

HOST = "127.0.0.1"
# Below the range from which kernels take ports for outgoing connections (32768 and up on Linux):
# a service that is started again finds its port free.
FREE_PORTS = range(20_000, 32_000)
ATTEMPTS_MAX = 100


def claimed(port: int, option: str) -> int:
    """`port` if it is free, or any free one for 0. Raises `Failure`, naming the option."""
    if port == 0:
        return free()
    if not _is_free(port):
        raise Failure(f"port {port} is taken; choose another with {option} (0: any free port)")
    return port


def free() -> int:
    """A port on which nothing listens."""
    for port in random.sample(FREE_PORTS, ATTEMPTS_MAX):
        if _is_free(port):
            return port
    raise Failure(f"no free port among {ATTEMPTS_MAX} tried")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
        # As servers do: a port whose last connections are in TIME_WAIT counts as free.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((HOST, port))
        except OSError:
            return False
    return True
