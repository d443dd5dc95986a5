"""How an upstream is reached: at addresses that were checked, with a key that stays secret."""

import asyncio
import datetime
import ipaddress
import logging
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from weir_inference.adapters.engines.openai.openai_settings import OpenAiSettings
from weir_inference.core.engine import Event, Finished, Generation
from weir_inference.core.request import Request
from weir_inference.core.sampling import Sampling
from weir_kit.errors import Internal, Unavailable, WeirError

HOST = "llm.example"
CANARY = "sk-canary-0123456789"


def request(name: str = "req") -> Request:
    return Request(name, (1, 5, 6), 8, Sampling(seed=1))


async def events_of(generation: Generation) -> list[Event]:
    return [event async for event in generation.events()]


class Names:
    """A resolver whose answers the test gives, in turn; the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def __call__(self, host: str, port: int) -> list[str]:
        found = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if not found:
            raise socket.gaierror
        return found


async def test_the_connection_goes_to_the_checked_address_by_the_hosts_name(
    upstream: Any, open_engine: Any
) -> None:
    engine = await open_engine(resolve=Names(["127.0.0.1"]))
    upstream.answers(upstream.tokens(5, reason="length"))
    await events_of(engine.submit(request()))
    assert upstream.received[0].headers["host"] == f"{HOST}:{upstream.port}"


@pytest.mark.parametrize(
    ("addresses", "allow_private", "why"),
    [
        (["127.0.0.1"], False, "is private"),
        (["8.8.8.8", "10.0.0.1"], False, "is private"),
        (["127.0.0.1", "169.254.169.254"], True, "is link-local"),
        (["100.100.100.200"], True, "is a cloud's metadata service"),
    ],
)
async def test_a_host_of_which_any_address_is_unfit_is_refused_when_opened(
    open_engine: Any, addresses: list[str], allow_private: bool, why: str
) -> None:
    settings = OpenAiSettings(allow_private=allow_private)
    with pytest.raises(ValueError, match=rf"upstream\.url: the host {HOST} .*{why}"):
        await open_engine(resolve=Names(addresses), settings=settings)


async def test_a_name_that_turns_to_an_unfit_address_is_refused_then(
    upstream: Any, open_engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    names = Names(["8.8.8.8"], ["127.0.0.1"])
    engine = await open_engine(resolve=names, settings=OpenAiSettings(), retries=2)
    with pytest.raises(Unavailable) as told:
        await events_of(engine.submit(request()))
    assert "is private" in caplog.text
    assert "private" not in told.value.message
    assert upstream.connections == 0


async def test_a_name_not_known_yet_may_be_known_later(upstream: Any, open_engine: Any) -> None:
    engine = await open_engine(resolve=Names([], [], ["127.0.0.1"]), retries=1)
    upstream.answers(upstream.tokens(5, reason="length"))
    assert isinstance((await events_of(engine.submit(request())))[-1], Finished)


async def test_an_address_that_does_not_answer_gives_way_to_the_next(
    upstream: Any, open_engine: Any
) -> None:
    engine = await open_engine(resolve=Names(["::1", "127.0.0.1"]))  # the server has no ::1
    upstream.answers(upstream.tokens(5, reason="length"))
    assert isinstance((await events_of(engine.submit(request())))[-1], Finished)


async def test_a_closed_port_is_tried_again_then_told(
    open_engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        engine = await open_engine(port=closed.getsockname()[1], retries=2)
        with pytest.raises(Unavailable):
            await events_of(engine.submit(request()))
    assert caplog.text.count("ConnectError") == 3


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """The operator's folder, with a key for the host."""
    (tmp_path / HOST).mkdir()
    (tmp_path / HOST / "key").write_text(CANARY + "\n")
    return tmp_path


async def test_a_key_goes_to_its_upstream_and_nowhere_else(
    upstream: Any, open_engine: Any, keys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = OpenAiSettings(allow_private=True, keys=keys)
    engine = await open_engine(settings=settings, api_key_file="key")
    upstream.plays(
        lambda answer: answer.whole(upstream.tokens(5, reason="length")),
        lambda answer: answer.error(401, CANARY.encode()),
    )
    await events_of(engine.submit(request("a")))
    assert upstream.received[0].headers["authorization"] == f"Bearer {CANARY}"
    with pytest.raises(Internal) as told:
        await events_of(engine.submit(request("b")))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = await open_engine(
            settings=settings, api_key_file="key", port=closed.getsockname()[1]
        )
        with pytest.raises(WeirError) as lost:
            await events_of(away.submit(request("c")))
    shown = [told.value, lost.value, engine, engine.model, vars(engine), settings]
    assert "httpcore" in caplog.text, "what is logged at all is looked at"
    assert CANARY not in caplog.text + "".join(map(repr, shown))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"settings": OpenAiSettings(allow_private=True)}, "this service has no folder of keys"),
        ({"api_key_file": "other"}, "other cannot be read"),
        ({"url": "https://evil.example/v1"}, "evil.example/key cannot be read"),
        ({"api_key_file": "bad"}, "does not hold one line"),
    ],
)
async def test_a_key_that_is_not_there_for_this_host_is_told(
    open_engine: Any, keys: Path, changes: dict[str, Any], why: str
) -> None:
    (keys / HOST / "bad").write_text(f"{CANARY}\n{CANARY}")
    settings = OpenAiSettings(allow_private=True, keys=keys)
    with pytest.raises(ValueError, match=why) as told:
        await open_engine(**{"settings": settings, "api_key_file": "key", **changes})
    assert CANARY not in str(told.value)


async def test_a_key_is_not_sent_in_the_clear_into_the_world(open_engine: Any, keys: Path) -> None:
    with pytest.raises(ValueError, match="must be https"):
        await open_engine(settings=OpenAiSettings(keys=keys), api_key_file="key")


@pytest.mark.parametrize("named", [HOST, "other.example"])
async def test_tls_is_for_the_hosts_name(
    open_engine: Any,
    serving: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    named: str,
) -> None:
    certificate = write_certificate(tmp_path, named)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, tmp_path / "key.pem")
    asked: list[str] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with serving(context) as upstream:
        upstream.answers(upstream.tokens(5, reason="length"))
        engine = await open_engine(url=f"https://{HOST}:{upstream.port}/v1")
        if named == HOST:
            await events_of(engine.submit(request()))
        else:
            with pytest.raises(Unavailable):
                await events_of(engine.submit(request()))
        assert asked == [HOST]
        assert len(upstream.received) == (named == HOST)


def write_certificate(folder: Path, name: str) -> Path:
    """A certificate that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.2"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    path = folder / "certificate.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path


async def test_no_proxy_of_the_environment_is_used(
    upstream: Any, open_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    engine = await open_engine()
    upstream.answers(upstream.tokens(5, reason="length"))
    await asyncio.wait_for(events_of(engine.submit(request())), 10)
    assert upstream.received
