"""The running stack's services, called as an operator: by the service token in `$WEIR_HOME`."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc

from weir_cli.stack import state
from weir_cli.stack.home import Home, home_of
from weir_cli.stack.secrets import Secrets
from weir_cli.stack.state import StackState
from weir_kit.channel import connect
from weir_kit.status import raising_weir_errors

TIMEOUT_S = 15


class Admin:
    """Channels to the services of a stack."""

    def __init__(
        self, home: Home, stack: StackState, channels: dict[str, grpc.aio.Channel]
    ) -> None:
        self.home = home
        self.stack = stack
        self._channels = channels

    def channel(self, service: str) -> grpc.aio.Channel:
        """The channel to a service."""
        return self._channels[self.stack.addresses[service]]

    @property
    def processes(self) -> dict[str, grpc.aio.Channel]:
        """One channel a process, by address: several services may share one."""
        return self._channels

    @property
    def demo_key(self) -> str:
        """The key that `weir up` made."""
        secrets = Secrets(self.home.secrets)
        return secrets.read(secrets.demo_key)


@asynccontextmanager
async def admin(home: Home | None = None) -> AsyncIterator[Admin]:
    """Connect to the stack that runs in `home` (the environment's). Raises `Failure` if none does,
    and WeirErrors for calls inside that fail."""
    home = home or home_of()
    stack = state.required(home)
    secrets = Secrets(home.secrets)
    token = secrets.read(secrets.service_token)
    async with AsyncExitStack() as closing:
        channels = {
            address: await closing.enter_async_context(connect(address, service_token=token))
            for address in dict.fromkeys(stack.addresses.values())
        }
        with raising_weir_errors():
            yield Admin(home, stack, channels)
