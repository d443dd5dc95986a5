"""Calls to this machine go to this machine, also where the environment names a proxy."""

from collections.abc import MutableMapping

HOSTS = ("127.0.0.1", "localhost")
VARIABLES = ("no_proxy", "NO_PROXY")


def spare_from_proxies(environ: MutableMapping[str, str]) -> None:
    """Add the loopback hosts to `no_proxy`: gRPC and httpx obey it, child processes inherit it."""
    named = ",".join(environ.get(variable, "") for variable in VARIABLES)
    hosts = [host.strip() for host in named.split(",") if host.strip()]
    for variable in VARIABLES:
        environ[variable] = ",".join(dict.fromkeys((*hosts, *HOSTS)))
