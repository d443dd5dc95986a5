"""The whole service, with a small random model and a real Redis, behind the in-process channel."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from redis.asyncio import Redis

from weir_contracts.inference.v1 import inference_pb2 as pb
from weir_contracts.inference.v1.inference_pb2_grpc import (
    ExplanationServiceStub,
    InferenceServiceStub,
    ModelRepositoryServiceStub,
)
from weir_inference.config import Config
from weir_inference.service import open_service
from weir_kit.admission import METADATA_KEY, Admission, AdmissionSigner
from weir_kit.clock import SystemClock
from weir_kit.config import load
from weir_kit.local import local_channel

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "eos_token_id": 2,
    "tie_word_embeddings": True,
}
LAYER = {
    "self_attn.q_proj.weight": (32, 32),
    "self_attn.k_proj.weight": (16, 32),
    "self_attn.v_proj.weight": (16, 32),
    "self_attn.o_proj.weight": (32, 32),
    "mlp.gate_proj.weight": (64, 32),
    "mlp.up_proj.weight": (64, 32),
    "mlp.down_proj.weight": (32, 64),
    "input_layernorm.weight": (32,),
    "post_attention_layernorm.weight": (32,),
}
SHAPES = {
    "model.embed_tokens.weight": (64, 32),
    **{f"model.layers.{n}.{name}": shape for n in range(2) for name, shape in LAYER.items()},
    "model.norm.weight": (32,),
}


@dataclass(frozen=True)
class Bench:
    """A running service and what a gateway would hold."""

    inference: InferenceServiceStub
    models: ModelRepositoryServiceStub
    explanations: ExplanationServiceStub
    signer: AdmissionSigner
    redis_url: str

    def generate(
        self, request: pb.GenerateRequest, *, timeout: float = 30.0, **admitted: Any
    ) -> "grpc.aio.UnaryStreamCall[pb.GenerateRequest, pb.GenerateResponse]":
        """Call with an admission for this request, but for what `admitted` changes."""
        admission = Admission(
            **{
                "request_id": request.request_id,
                "tenant_id": "ten_1",
                "project_id": "prj_1",
                "key_id": "key_1",
                "model": request.model,
                "expires_at_s": SystemClock().now_s() + 60,
            }
            | admitted
        )
        metadata = ((METADATA_KEY, self.signer.sign(admission)),)
        return self.inference.Generate(request, metadata=metadata, timeout=timeout)

    async def load(self) -> pb.GetLoadResponse:
        return await self.inference.GetLoad(pb.GetLoadRequest(), timeout=10)

    async def metered(self) -> list[dict[str, str]]:
        """The entries of the meter stream."""
        async with Redis.from_url(self.redis_url, decode_responses=True) as redis:
            return [fields for _, fields in await redis.xrange("weir:meter")]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random model."""
    # Only here: tests with a fake engine need no torch.
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()
    random = torch.Generator().manual_seed(2)
    weights = {
        name: torch.randn(shape, generator=random) * 0.2 if len(shape) > 1 else torch.ones(shape)
        for name, shape in SHAPES.items()
    }
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


OpenBench = Callable[..., AbstractAsyncContextManager[Bench]]


@pytest.fixture
def open_bench(tiny_model: Path, redis_url: str, tmp_path: Path) -> OpenBench:
    """`async with open_bench(WEIR_…="…") as bench`: the service, configured as a process is."""
    private = Ed25519PrivateKey.generate()
    private_pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    key_file = tmp_path / "admission.pub"
    key_file.write_bytes(
        private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )

    @asynccontextmanager
    async def opened(**environ: str) -> AsyncIterator[Bench]:
        config = load(
            Config,
            {
                "WEIR_MODELS": f"tiny={tiny_model}",
                "WEIR_ADMISSION_PUBLIC_KEY_FILE": str(key_file),
                "WEIR_REDIS_URL": redis_url,
                "WEIR_INFERENCE_DEVICE": "cpu",
                "WEIR_INFERENCE_THREADS": "1",
                "WEIR_INFERENCE_KV_MB": "4",
                **environ,
            },
        )
        async with (
            open_service(config, NoPeers()) as service,
            local_channel(*service.servicers) as channel,
        ):
            yield Bench(
                InferenceServiceStub(channel),
                ModelRepositoryServiceStub(channel),
                ExplanationServiceStub(channel),
                AdmissionSigner(private_pem),
                redis_url,
            )

    return opened


class NoPeers:
    """Inference calls nobody."""

    def channel(self, service: str) -> grpc.aio.Channel:
        raise AssertionError(f"inference called {service}")


@pytest.fixture
async def bench(open_bench: OpenBench) -> AsyncIterator[Bench]:
    """The service with its usual settings."""
    async with open_bench() as opened:
        yield opened
