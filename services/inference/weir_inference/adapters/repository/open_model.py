"""From verified files to a model that answers: the engine that its spec names."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from weir_inference.adapters.engines.onnx.onnx_settings import OnnxSettings
from weir_inference.adapters.engines.openai.openai_settings import OpenAiSettings
from weir_inference.adapters.repository.bad_model_folder import BadModelFolder
from weir_inference.adapters.repository.folder import ModelFiles
from weir_inference.core.engine import ModelDescription
from weir_inference.core.hosted_model import OpenedModel
from weir_inference.core.model_spec import BYTES_TOKENIZER, EngineKind
from weir_inference.core.processing import Task
from weir_inference.core.tensor_engine import TensorEngine
from weir_kit.clock import Clock

if TYPE_CHECKING:  # torch and onnxruntime take long to import, and not every process needs both
    from weir_inference.adapters.engines.torch.torch_engine import TorchSettings

PADDED = ("input_ids", "attention_mask")  # of text, along its second dimension, with zeros


class ModelOpener:
    """Loads and warms models by their engines."""

    def __init__(
        self,
        torch: "TorchSettings",
        onnx: OnnxSettings,
        clock: Clock,
        openai: OpenAiSettings | None = None,
    ) -> None:
        self._torch = torch
        self._onnx = onnx
        self._openai = openai or OpenAiSettings()
        self._clock = clock

    @asynccontextmanager
    async def open(self, name: str, version: str, files: ModelFiles) -> AsyncIterator[OpenedModel]:
        """The model, ready on entering, freed after. Raises `BadModelFolder`."""
        open_by = {
            EngineKind.TORCH: self._open_torch,
            EngineKind.ONNX: self._open_onnx,
            EngineKind.OPENAI: self._open_openai,
            EngineKind.VLLM: self._open_vllm,
        }
        opening = open_by[files.spec.engine]
        async with AsyncExitStack() as stack:
            try:
                opened = await stack.enter_async_context(opening(name, files))
            except ValueError as error:  # what an engine says of a model that it cannot run
                raise BadModelFolder(str(error)) from error
            description = replace(
                opened.description,
                version=version,
                digest=files.digest,
                labels=tuple(files.spec.metadata.items()),
            )
            yield replace(opened, description=description, aliases=files.spec.aliases)

    @asynccontextmanager
    async def _open_torch(self, name: str, files: ModelFiles) -> AsyncIterator[OpenedModel]:
        # Only here: torch takes seconds to import, and a wrong setting is told before.
        from weir_inference.adapters.engines.torch.torch_engine import open_torch_engine

        _check_generates(files)
        folder = str(files.folder)
        async with open_torch_engine(name, folder, self._torch, self._clock) as engine:
            memory_mb = (files.spec.memory_mb or 0) + self._torch.kv_mb
            yield OpenedModel(engine.model, memory_mb, engine=engine)

    @asynccontextmanager
    async def _open_openai(self, name: str, files: ModelFiles) -> AsyncIterator[OpenedModel]:
        from weir_inference.adapters.engines.openai.openai_engine import open_openai_engine

        _check_generates(files)
        spec = files.spec
        assert spec.upstream is not None
        if spec.tokenizer in (None, BYTES_TOKENIZER):
            raise BadModelFolder("model.yaml: tokenizer must name the upstream model's tokenizer")
        tokenizer = files.folder / str(spec.tokenizer)
        async with open_openai_engine(
            name, tokenizer, spec.upstream, self._openai, self._clock
        ) as engine:
            yield OpenedModel(engine.model, spec.memory_mb or 0, engine=engine)

    @asynccontextmanager
    async def _open_vllm(self, name: str, files: ModelFiles) -> AsyncIterator[OpenedModel]:
        from weir_inference.adapters.engines.vllm.vllm_engine import open_vllm_engine

        _check_generates(files)
        spec = files.spec
        assert spec.vllm is not None
        async with open_vllm_engine(name, files.folder, spec.vllm, self._clock) as engine:
            memory_mb = (spec.memory_mb or 0) + (spec.vllm.kv_cache_memory_mb or 0)
            yield OpenedModel(engine.model, memory_mb, engine=engine)

    @asynccontextmanager
    async def _open_onnx(self, name: str, files: ModelFiles) -> AsyncIterator[OpenedModel]:
        from weir_inference.adapters.engines.onnx.onnx_engine import open_onnx_engine
        from weir_inference.adapters.tasks.open_task import open_task

        spec = files.spec
        file = str(files.folder / (spec.file or "model.onnx"))
        settings = replace(
            self._onnx,
            instances=spec.instances,
            max_rows=spec.batching.max_rows,
            max_delay_ms=spec.batching.max_delay_ms,
            max_queued_rows=spec.batching.max_queued_rows,
            length_buckets=spec.batching.buckets,
            padding=dict.fromkeys(PADDED, 0) if spec.batching.buckets else {},
        )
        async with AsyncExitStack() as engines:
            tensors = await engines.enter_async_context(
                open_onnx_engine(name, file, settings, self._clock)
            )
            beside: dict[str, TensorEngine] = {}
            if spec.ranker is not None:
                ranker_file = str(files.folder / spec.ranker)
                beside[spec.ranker] = await engines.enter_async_context(
                    open_onnx_engine(f"{name}-ranker", ranker_file, settings, self._clock)
                )
            description = ModelDescription(
                name=name,
                engine="onnx",
                architecture="",
                context_tokens=0,
                vocab_size=0,
                parameters=0,
                dtype="",
                loaded_at_s=self._clock.now_s(),
                task=spec.task,
                inputs=tensors.inputs,
                outputs=tensors.outputs,
            )
            ranker = beside.get(spec.ranker or "")
            task = await asyncio.to_thread(open_task, files, tensors, ranker)
            yield OpenedModel(
                description, spec.memory_mb or 0, tensors=tensors, beside=beside, task=task
            )


def _check_generates(files: ModelFiles) -> None:
    spec = files.spec
    if spec.task is not Task.GENERATION:
        raise BadModelFolder(f"the engine {spec.engine} generates; it cannot do {spec.task}")
