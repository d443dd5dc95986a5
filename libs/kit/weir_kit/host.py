"""One process, one event loop, any number of services: `python -m weir_kit.host policy billing`."""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from weir_kit import telemetry
from weir_kit.channel import govern
from weir_kit.config import ConfigError, load
from weir_kit.health import Health
from weir_kit.host_config import HostConfig
from weir_kit.inbound import Inbound
from weir_kit.local import LocalChannel, LocalServer
from weir_kit.logs import log_lost_errors, start_logging
from weir_kit.peers import HostPeers
from weir_kit.server import GrpcServer
from weir_kit.service import Service, Servicer, ServiceSpec
from weir_kit.trace_service import trace_servicer
from weir_kit.watch import Watch

ENTRY_POINTS = "weir.services"
DRAIN_S = 10.0
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ready:
    """A host that serves: its services, where it listens, and channels to them and their peers."""

    services: tuple[str, ...]
    listen: str
    peers: HostPeers


def main(*specs: ServiceSpec) -> None:
    """Run the services until SIGTERM or SIGINT, then drain; a second signal stops at once.

    Exits with 0 after a drain, with 2 and one clear line if the environment is wrong.
    """
    try:
        asyncio.run(_main(specs))
    except ConfigError as error:
        sys.exit(_complain(error))
    except (asyncio.CancelledError, KeyboardInterrupt):
        sys.exit(1)


async def run_host(
    specs: Sequence[ServiceSpec],
    environ: Mapping[str, str],
    *,
    ready: Callable[[Ready], Any] | None = None,
    stop: asyncio.Event | None = None,
    drain_s: float = DRAIN_S,
    watch: Callable[[Health], Watch] = Watch,
) -> None:
    """Open the services in order, serve them until `stop` is set, drain, and close them in reverse.

    Meanwhile `watch` asks them how they are.
    Raises ConfigError before anything is opened if a variable is missing or wrong.
    """
    host = load(HostConfig, environ)
    configs = [load(spec.config, environ) for spec in specs]
    names = tuple(spec.name for spec in specs)
    inbound, health = Inbound(host.service_token, hosted=names), Health()
    local, server = LocalServer(inbound), GrpcServer(inbound, health)
    channel = govern(LocalChannel(local), service_token=host.service_token)
    peers = HostPeers(names, channel, host.addresses, host.service_token)
    watching, services = watch(health), list[Service]()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(watching.close)
        stack.push_async_callback(_start_export(host))
        stack.push_async_callback(peers.close)
        stack.push_async_callback(local.stop, 0)
        local.add(health.servicer)
        _add(trace_servicer(telemetry.ring), local, server)
        for spec, config in zip(specs, configs, strict=True):
            with telemetry.use_service(spec.name):
                service = await stack.enter_async_context(spec.open(config, peers))
            services.append(service)
            _check_apart(services)
            for servicer in service.servicers:
                _add(servicer, local, server)
        try:
            listen = await server.start(host.listen)
        except OSError as error:
            raise ConfigError(f"WEIR_LISTEN is wrong: {error}") from error
        stack.push_async_callback(server.drain, drain_s)
        watching.start(services)
        if ready is not None:
            ready(Ready(names, listen, peers))
        await (stop or asyncio.Event()).wait()


def find_specs(names: Sequence[str]) -> list[ServiceSpec]:
    """The installed services of those names. Raises ConfigError for one that is not installed."""
    installed = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    for name in names:
        if name not in installed:
            known = ", ".join(sorted(installed)) or "none"
            raise ConfigError(f"no service {name!r} is installed; installed: {known}")
    return [installed[name].load() for name in names]


def _check_apart(services: Sequence[Service]) -> None:
    """Raises ConfigError for two services that serve one name: they need a process each."""
    served: dict[str, str] = {}
    for service in services:
        for servicer in service.servicers:
            other = served.setdefault(servicer.full_name, service.name)
            if other != service.name:
                raise ConfigError(
                    f"{other} and {service.name} both serve {servicer.full_name}: "
                    "host each in a process of its own"
                )


def _add(servicer: Servicer, local: LocalServer, server: GrpcServer) -> None:
    local.add(servicer)
    server.add(servicer)


async def _main(specs: Sequence[ServiceSpec]) -> None:
    start_logging(load(HostConfig, os.environ).log_level)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_lost_errors)
    signals = Signals()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.on_signal)
    await signals.run(specs)
    logger.info("stopped")


class Signals:
    """The first signal ends the process in order, at any moment; the second one at once."""

    def __init__(self) -> None:
        self._stop = asyncio.Event()
        self._task = asyncio.current_task()
        self._is_ready = False

    def on_signal(self) -> None:
        """SIGTERM or SIGINT came."""
        assert self._task is not None
        if self._stop.is_set() or not self._is_ready:
            self._task.cancel()
        self._stop.set()

    async def run(self, specs: Sequence[ServiceSpec]) -> None:
        """Run until a signal. Raises CancelledError if a second one cut the drain short."""
        try:
            await run_host(specs, os.environ, ready=self._on_ready, stop=self._stop)
        except asyncio.CancelledError:
            if self._is_ready:
                raise

    def _on_ready(self, ready: Ready) -> None:
        self._is_ready = True
        _announce(ready)


def _announce(ready: Ready) -> None:
    line = {
        "event": "ready",
        "services": ready.services,
        "listen": ready.listen,
        "pid": os.getpid(),
    }
    print(json.dumps(line), file=sys.stderr, flush=True)


def _start_export(host: HostConfig) -> Callable[[], Any]:
    """Send spans to the collector, if there is one; returns what flushes and ends that."""

    async def nothing() -> None:
        return

    if not host.otlp_endpoint:
        return nothing
    # Only here: OpenTelemetry's SDK takes a quarter of a second and 20 MB to import.
    from weir_kit.otlp import OtlpExport

    export = OtlpExport()
    remove = telemetry.add_sink(export.add)

    async def close() -> None:
        remove()
        await asyncio.to_thread(export.close)

    return close


def _complain(error: ConfigError) -> int:
    print(f"weir: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        if not sys.argv[1:]:
            raise ConfigError("name the services to host: python -m weir_kit.host policy billing")
        found = find_specs(sys.argv[1:])
    except ConfigError as error:
        sys.exit(_complain(error))
    main(*found)
