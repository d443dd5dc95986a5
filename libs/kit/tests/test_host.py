"""A process hosts services, says when it is ready, and leaves in order."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from weir_contracts.telemetry.v1 import trace_pb2, trace_pb2_grpc
from weir_kit import telemetry
from weir_kit.channel import connect
from weir_kit.config import ConfigError
from weir_kit.host import Ready, find_specs, run_host
from weir_kit.service import ServiceSpec
from weir_kit.watch import EXIT_BROKEN

PROGRAM = Path(__file__).parent / "echo_service.py"
TOKEN = "host-token"


def load_echo_service() -> Any:
    import importlib.util

    spec = importlib.util.spec_from_file_location("echo_service", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


echo_service = load_echo_service()


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    return {"WEIR_SERVICE_TOKEN_FILE": str(tmp_path / "token")}


@asynccontextmanager
async def hosted(environ: dict[str, str], *specs: ServiceSpec) -> AsyncIterator[Ready]:
    """The services in this very process."""
    ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    task = asyncio.create_task(run_host(specs, environ, ready=ready.set_result, stop=stop))
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    yield ready.result()
    stop.set()
    await task


class Program:
    """The services in a process of their own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.listen = ""

    async def line(self, stream: asyncio.StreamReader | None) -> str:
        assert stream is not None
        return (await asyncio.wait_for(stream.readline(), 30)).decode()

    async def ready(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self.line(self.process.stderr))
        assert found["event"] == "ready", found
        self.listen = found["listen"]
        return found

    async def until(self, text: str) -> None:
        while text not in (line := await self.line(self.process.stdout)):
            assert line, f"the program ended without saying {text!r}"


@asynccontextmanager
async def program(environ: dict[str, str], *names: str) -> AsyncIterator[Program]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        *names,
        env={**os.environ, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_services_in_one_process_meet_without_a_socket(environ: dict[str, str]) -> None:
    async with (
        hosted(environ, echo_service.ECHO, echo_service.SHOUT) as ready,
        connect(ready.listen, service_token=TOKEN) as channel,
    ):
        with telemetry.span("root") as root:
            answer = await echo_service.say(channel, "shout")(StringValue(value="hi"))
        assert answer.value == "HI from ipv4:"
        assert ready.services == ("echo", "shout")
        trace = await trace_pb2_grpc.TraceServiceStub(channel).GetTrace(
            trace_pb2.GetTraceRequest(trace_id=root.context.trace_id)
        )
    edges = {(span.service, span.kind, span.name.rpartition("/")[0]) for span in trace.spans}
    assert ("shout", "server", "weir.shout.v1.ShoutService") in edges
    assert ("shout", "client", "weir.echo.v1.EchoService") in edges
    assert ("echo", "server", "weir.echo.v1.EchoService") in edges


async def test_a_service_elsewhere_is_reached_by_its_address(environ: dict[str, str]) -> None:
    async with hosted(environ, echo_service.ECHO) as echo:
        peers = echo.peers
        assert peers.channel("echo") is peers.channel("echo")
        with pytest.raises(ConfigError, match="WEIR_BILLING_ADDRESS is not set"):
            peers.channel("billing")
        there = {**environ, "WEIR_POLICY_ADDRESS": echo.listen}
        async with hosted(there, echo_service.ECHO) as other:
            channel = other.peers.channel("policy")
            answer = await echo_service.say(channel, "echo")(StringValue(value="over there"))
            assert answer.value == "over there"


@pytest.mark.parametrize("where", ["local", "wire"])
async def test_health_is_told_per_service(environ: dict[str, str], where: str) -> None:
    async with (
        hosted(environ, echo_service.ECHO) as ready,
        connect(ready.listen) as wire,
    ):
        channel = wire if where == "wire" else ready.peers.channel("echo")
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", "weir.echo.v1.EchoService", "weir.telemetry.v1.TraceService"):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="other"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_the_services(environ: dict[str, str]) -> None:
    async with hosted(environ, echo_service.ECHO) as ready, connect(ready.listen) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = [a async for a in stub.ServerReflectionInfo(iter([question]))]
    names = {service.name for service in answer.list_services_response.service}
    assert names >= {"weir.echo.v1.EchoService", "grpc.health.v1.Health"}


async def test_it_listens_on_a_unix_socket_too(environ: dict[str, str], tmp_path: Path) -> None:
    listen = f"unix:{tmp_path}/weir.sock"
    async with (
        hosted({**environ, "WEIR_LISTEN": listen}, echo_service.ECHO) as ready,
        connect(ready.listen, service_token=TOKEN) as channel,
    ):
        assert ready.listen == listen
        assert (await echo_service.say(channel, "echo")(StringValue(value="x"))).value == "x"


async def test_an_address_in_use_is_a_wrong_setting(environ: dict[str, str]) -> None:
    async with hosted(environ, echo_service.ECHO) as ready:
        with pytest.raises(ConfigError, match="WEIR_LISTEN"):
            async with hosted({**environ, "WEIR_LISTEN": ready.listen}, echo_service.ECHO):
                pass


async def test_a_channel_finds_a_server_that_comes_back(environ: dict[str, str]) -> None:
    async with hosted(environ, echo_service.ECHO) as ready:
        channel = connect(ready.listen, service_token=TOKEN)
        say = echo_service.say(channel, "echo")
        await say(StringValue())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await say(StringValue())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    async with hosted({**environ, "WEIR_LISTEN": ready.listen}, echo_service.ECHO):
        await say(StringValue(), wait_for_ready=True, timeout=5)
        await channel.close()


async def test_a_service_that_is_not_installed_is_named() -> None:
    with pytest.raises(ConfigError, match="no service 'nowhere' is installed"):
        find_specs(["nowhere"])


async def test_sigterm_lets_calls_finish_and_exits_with_0(environ: dict[str, str]) -> None:
    async with program({**environ, "ECHO_DELAY_S": "0.5"}, "echo", "shout") as running:
        ready = await running.ready()
        assert ready["services"] == ["echo", "shout"]
        assert ready["pid"] == running.process.pid
        async with connect(running.listen, service_token=TOKEN) as channel:
            say = echo_service.say(channel, "shout")
            call = asyncio.ensure_future(say(StringValue(value="last")))
            await running.until("asked")
            running.process.send_signal(signal.SIGTERM)
            assert (await call).value == "LAST from ipv4:"
        await running.until("shout closed")  # the last opened is closed first
        await running.until("echo closed")
        assert await asyncio.wait_for(running.process.wait(), 10) == 0
        assert json.loads(await running.line(running.process.stderr))["message"] == "stopped"


async def test_a_second_signal_ends_it_at_once(environ: dict[str, str]) -> None:
    async with program({**environ, "ECHO_DELAY_S": "60"}, "echo") as running:
        await running.ready()
        async with connect(running.listen, service_token=TOKEN) as channel:
            say = echo_service.say(channel, "echo")
            call = asyncio.ensure_future(say(StringValue(value="long")))
            await running.until("asked")
            running.process.send_signal(signal.SIGINT)
            # The listener is gone as soon as the drain has begun: only then is a signal the second.
            host, _, port = running.listen.rpartition(":")
            while await _accepts(host, int(port)):
                await asyncio.sleep(0.02)
            running.process.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(running.process.wait(), 5) == 1
            with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
                await call
        await running.until("echo closed")


async def test_a_broken_service_ends_its_process_at_once_and_callers_see_it_unavailable(
    environ: dict[str, str],
) -> None:
    async with program(environ, "echo") as running:
        await running.ready()
        async with connect(running.listen, service_token=TOKEN) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await echo_service.say(channel, "echo")(StringValue(value="break"), timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await asyncio.wait_for(running.process.wait(), 10) == EXIT_BROKEN
        levels = [json.loads(line)["level"] async for line in running.process.stderr]
        assert levels == ["warning", "critical"]


async def test_a_wrong_environment_is_one_clear_line(environ: dict[str, str]) -> None:
    async with program({**environ, "ECHO_DELAY_S": "soon"}, "echo") as running:
        assert await asyncio.wait_for(running.process.wait(), 30) == 2
        line = await running.line(running.process.stderr)
        assert line.startswith("weir: ECHO_DELAY_S is wrong: 'soon'")
        assert await running.line(running.process.stderr) == ""


async def test_a_peer_without_an_address_is_one_clear_line(environ: dict[str, str]) -> None:
    async with program(environ, "shout") as running:
        assert await asyncio.wait_for(running.process.wait(), 30) == 2
        line = await running.line(running.process.stderr)
        assert line.startswith("weir: ")
        assert "WEIR_ECHO_ADDRESS is not set" in line


async def _accepts(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
