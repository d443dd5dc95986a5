"""The composition root."""

from pathlib import Path

import pytest

from weir_kit.config import ConfigError
from weir_tokenizer.config import Config, ModelSource
from weir_tokenizer.service import SPEC, open_service


class NoPeers:
    """It calls no other service."""

    def channel(self, service: str) -> object:
        raise AssertionError(service)


async def test_a_model_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    config = Config((ModelSource("tales", str(tmp_path)),))
    with pytest.raises(ConfigError, match=r"WEIR_MODELS: .*'tales'.*tokenizer\.json is missing"):
        async with open_service(config, NoPeers()):  # type: ignore[arg-type]
            pass


async def test_the_service_has_its_contracts_name(folders: dict[str, Path]) -> None:
    config = Config((ModelSource("tales", str(folders["byte-level"])),))
    async with SPEC.open(config, NoPeers()) as service:  # type: ignore[arg-type]
        assert [one.full_name for one in service.servicers] == [
            "weir.tokenizer.v1.TokenizerService"
        ]
