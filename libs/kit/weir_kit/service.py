"""What a service is to the process that hosts it: a name, a Config and a composition root."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from weir_kit.condition import Condition, always_well


class Peers(Protocol):
    """Channels to the other services, in process or over the wire: the same stubs either way."""

    def channel(self, service: str) -> grpc.aio.Channel:
        """The channel to `gateway`, `tokenizer`, `inference`, `policy` or `billing`."""
        ...


@dataclass(frozen=True)
class Servicer:
    """One gRPC servicer and how it is added to a server.

    `full_name` is the gRPC service's, `weir.policy.v1.PolicyService`: for health and reflection.
    `add` is the generated `add_…Servicer_to_server`.
    """

    full_name: str
    implementation: Any
    add: Callable[[Any, grpc.aio.Server], None]


@dataclass(frozen=True)
class Service:
    """A running service: what `open` yields.

    The host asks for its `condition` every second, on the event loop: it answers at once. Health
    says SERVING while it is well; a broken one ends the process (`weir_kit.watch`).
    """

    name: str
    servicers: tuple[Servicer, ...]
    condition: Callable[[], Condition] = always_well


@dataclass(frozen=True)
class ServiceSpec:
    """How to make a service; each `weir_<service>.service` has one, named `SPEC`.

    `open(config, peers)` is an async context manager: it builds adapters and core, yields the
    `Service`, and closes everything in the end. Servicers answer only while it is open.
    """

    name: str
    config: type[Any]
    open: Callable[[Any, Peers], AbstractAsyncContextManager[Service]]
