from pathlib import Path

import pytest

from weir_cli.failure import Failure
from weir_cli.stack.home import Home
from weir_cli.stack.model import Model, model_of
from weir_cli.stack.ports import claimed, free
from weir_cli.stack.services import Layout, programs, serving

EMBEDDED = Layout("embedded", 8080, {"services": 9090, "inference": 9101})
PROCESSES = Layout(
    "processes",
    8080,
    {"gateway": 9090, "inference": 9101, "tokenizer": 9102, "billing": 9103, "policy": 9104},
)
MODEL = Model("weir-tales", "/models/weir-tales")


def made(folder: Path, layout: Layout) -> dict[str, tuple[tuple[str, ...], dict[str, str]]]:
    home = Home(folder)
    home.make()
    return {
        program.name: (program.command[1:], dict(program.environment))
        for program in programs(home, layout, MODEL)
    }


def test_embedded_puts_all_but_inference_into_one_process(tmp_path: Path) -> None:
    found = made(tmp_path, EMBEDDED)
    command, environment = found["services"]
    assert command == ("-m", "weir_kit.host", "policy", "billing", "tokenizer", "gateway")
    assert environment["WEIR_LISTEN"] == "127.0.0.1:9090"
    assert environment["WEIR_INFERENCE_ADDRESS"] == "127.0.0.1:9101"
    assert environment["WEIR_POLICY_ADDRESS"] == ""  # in this very process
    assert found["inference"][0] == ("-m", "weir_inference")
    assert found["inference"][1]["WEIR_MODELS"] == "weir-tales=/models/weir-tales"


def test_processes_gives_every_service_its_own_and_every_peers_address(tmp_path: Path) -> None:
    found = made(tmp_path, PROCESSES)
    assert set(found) == {"gateway", "inference", "tokenizer", "billing", "policy"}
    for name, (command, environment) in found.items():
        assert command == ("-m", f"weir_{name}")
        peers = {
            peer: environment[f"WEIR_{peer.upper()}_ADDRESS"] for peer in found if peer != name
        }
        assert peers == {peer: f"127.0.0.1:{PROCESSES.ports[peer]}" for peer in peers}


def test_a_model_is_a_folder_or_a_hub_id(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    with pytest.raises(Failure, match=r"has no config\.json"):
        model_of(str(folder))
    (folder / "config.json").write_text("{}")
    assert model_of(str(folder)) == Model("my-model", str(folder))
    assert model_of("Qwen/Qwen3-0.6B") == Model("Qwen3-0.6B", "Qwen/Qwen3-0.6B")
    with pytest.raises(Failure, match="is no folder and no hub id"):
        model_of("no such thing")


async def test_a_taken_port_is_an_error_that_names_the_option() -> None:
    import asyncio

    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(Failure, match=f"port {port} is taken; choose another with --http-port"):
        claimed(port, "--http-port")
    assert not await serving(f"127.0.0.1:{port}")
    server.close()
    await server.wait_closed()


def test_port_0_is_any_free_one() -> None:
    port = claimed(0, "--grpc-port")
    assert claimed(port, "--grpc-port") == port
    assert free() != 0
