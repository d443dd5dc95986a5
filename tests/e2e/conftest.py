"""A real stack: `weir up --json` as a process, in a home of its own, on free ports.

The whole suite runs twice: over the embedded stack, then with every service in its own process.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import openai
import psutil
import pytest

from weir_cli.admin import admin
from weir_cli.ledger import entries_of
from weir_cli.stack.home import Home
from weir_contracts.billing.v1 import account_pb2
from weir_contracts.common.v1 import chat_pb2
from weir_contracts.gateway.v1 import generation_pb2, generation_pb2_grpc
from weir_contracts.inference.v1 import inference_pb2, inference_pb2_grpc
from weir_contracts.policy.v1 import audit_pb2, audit_pb2_grpc

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 40
POLL_S = 0.05


@dataclass
class Stack:
    """A running stack, and what tests ask it."""

    home: Home
    process: subprocess.Popen[str]
    environment: Mapping[str, str]
    http_url: str
    grpc_address: str
    api_key: str
    model: str
    ready_s: float
    clients: list[openai.OpenAI] = field(default_factory=list)

    def openai(self, api_key: str | None = None) -> openai.OpenAI:
        """The SDK, unmodified but for the two things that every user sets; it tries once."""
        client = openai.OpenAI(
            base_url=f"{self.http_url}/v1", api_key=api_key or self.api_key, max_retries=0
        )
        self.clients.append(client)
        return client

    def weir(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of the CLI against this stack."""
        return subprocess.run(
            [sys.executable, "-m", "weir_cli.main", *arguments],
            env=dict(self.environment),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def weir_json(self, *arguments: str) -> Any:
        """A command's answer. The command must succeed."""
        done = self.weir(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\n") == 1
        return json.loads(done.stdout)

    def admin(self) -> Any:
        """Channels to the services, as an operator."""
        return admin(self.home)

    def pid(self, name: str) -> int:
        """The process of that name, or the one that hosts the service of that name."""
        state = json.loads(self.home.state.read_text())
        found = [
            one for one in state["processes"] if name == one["name"] or name in one["services"]
        ]
        return int(found[0]["pid"])

    @asynccontextmanager
    async def http(self, api_key: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
        """Plain HTTP with the key."""
        headers = {"Authorization": f"Bearer {api_key or self.api_key}"}
        async with httpx.AsyncClient(
            base_url=self.http_url, headers=headers, timeout=60, trust_env=False
        ) as client:
            yield client

    def body(self, prompt: str, **more: Any) -> dict[str, Any]:
        """A chat request."""
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": 24,
            **more,
        }

    async def charge_of(self, request_id: str) -> int | None:
        """Nanos charged by the ledger; 0 if the hold was given back, None while it is open."""
        entries = await self.entries(request_id)
        kinds = {entry.kind for entry in entries}
        if not kinds & {"settle", "release", "expire"}:
            return None
        return sum(e.amount.nanos for e in entries if e.account.startswith("revenue:"))

    async def entries(self, request_id: str) -> list[account_pb2.Entry]:
        """The ledger entries of a request, of every account."""
        async with self.admin() as stack:
            return await entries_of(stack, request_id=request_id)

    async def audit_record(self, request_id: str) -> audit_pb2.AuditRecord | None:
        """The audit record of a request, once it is written."""
        async with self.admin() as stack:
            stub = audit_pb2_grpc.AuditServiceStub(stack.channel("policy"))
            request = audit_pb2.ListAuditRecordsRequest(request_id=request_id)
            records = (await stub.ListAuditRecords(request)).records
        return records[0] if records else None

    async def load(self) -> inference_pb2.GetLoadResponse:
        """How busy inference is."""
        async with self.admin() as stack:
            stub = inference_pb2_grpc.InferenceServiceStub(stack.channel("inference"))
            return await stub.GetLoad(inference_pb2.GetLoadRequest())

    async def idle(self) -> bool:
        """Whether inference runs nothing and holds no KV block."""
        load = await self.load()
        return not (load.running_requests or load.queued_requests or load.kv_blocks_used)

    async def count_tokens(self, prompt: str) -> int:
        """Prompt tokens of a chat with one message, as the gateway counts them."""
        message = chat_pb2.ChatMessage(role="user", content=prompt)
        async with grpc.aio.insecure_channel(self.grpc_address) as channel:
            counted = await generation_pb2_grpc.GenerationServiceStub(channel).CountTokens(
                generation_pb2.CountTokensRequest(
                    model=self.model, chat=chat_pb2.Chat(messages=[message])
                ),
                metadata=(("authorization", f"Bearer {self.api_key}"),),
            )
        return int(counted.input_tokens)


async def until(condition: Callable[[], Awaitable[Any]], what: str, within_s: float = 15) -> Any:
    """Wait until `condition` gives something true; what it gave."""
    until_s = time.monotonic() + within_s
    while True:
        found = await condition()
        if found:
            return found
        assert time.monotonic() < until_s, f"not within {within_s} s: {what}"
        await asyncio.sleep(POLL_S)


@contextmanager
def started(folder: Path, *options: str, **environment: str) -> Iterator[Stack]:
    """A stack in `folder` for as long as the block; `up`'s one line on stdout says where it is."""
    environ = {**os.environ, "WEIR_HOME": str(folder), **environment}
    log = (folder.parent / f"{folder.name}.stderr").open("w")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "weir_cli.main", "up", "--json"),
            *("--http-port", "0", "--grpc-port", "0", *model_option(), *options),
        ],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, Path(log.name).read_text()
        stack = Stack(Home(folder), process, environ, **json.loads(line))
        yield stack
        for client in stack.clients:
            client.close()
    finally:
        process.terminate()
        rest, _ = process.communicate(timeout=STOP_TIMEOUT_S)
        log.close()
    assert rest == "", "`up --json` prints one line and nothing else"


def model_option() -> tuple[str, ...]:
    """The committed default model, unless the environment names another (for trials)."""
    named = os.environ.get("WEIR_E2E_MODEL")
    return ("--model", named) if named else ()


@contextmanager
def a_home() -> Iterator[Path]:
    """A home that PostgreSQL's own user (for root) can enter, which pytest's folders forbid."""
    with tempfile.TemporaryDirectory(prefix="weir-e2e-", ignore_cleanup_errors=True) as folder:
        yield Path(folder) / "home"


@pytest.fixture(scope="session", params=["embedded", "processes"])
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The stack that most tests share. In the end its ledger must add up to zero."""
    options = ("--processes",) if request.param == "processes" else ()
    with a_home() as folder, started(folder, *options) as stack:
        yield stack
        verified = stack.weir_json("billing", "verify")
        assert verified["ok"] and verified["sums_nanos"] == {"USD": 0}, verified
        assert verified["open_holds"] == 0, verified


@pytest.fixture
def new_home() -> Iterator[Path]:
    """A home for a test that starts a stack of its own."""
    with a_home() as folder:
        yield folder


@pytest.fixture(name="started")
def start_function() -> Any:
    """`with started(folder, *options, **environment) as stack`."""
    return started


@pytest.fixture(name="until")
def until_function() -> Any:
    """`await until(condition, what)`."""
    return until


@pytest.fixture
def paused() -> Iterator[Callable[[int], None]]:
    """Stops a process as it stands; it goes on at the end of the test, or by `resume`."""
    pids: list[int] = []

    def pause(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        pids.append(pid)

    yield pause
    for pid in pids:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGCONT)
