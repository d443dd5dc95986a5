"""The composition root: loads the tokenizers and puts the servicer over them."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from weir_contracts.tokenizer.v1 import tokenizer_pb2, tokenizer_pb2_grpc
from weir_kit.clock import Clock, SystemClock
from weir_kit.config import ConfigError
from weir_kit.service import Peers, Service, Servicer, ServiceSpec
from weir_tokenizer.adapters.huggingface import HuggingFaceTokenizer, load
from weir_tokenizer.config import Config, ModelSource
from weir_tokenizer.core.catalog import Catalog
from weir_tokenizer.core.workbench import Workbench
from weir_tokenizer.rpc.tokenizer import TokenizerServicer

THREADS = 2
FULL_NAME = tokenizer_pb2.DESCRIPTOR.services_by_name["TokenizerService"].full_name


@asynccontextmanager
async def open_service(
    config: Config, peers: Peers, *, clock: Clock | None = None
) -> AsyncIterator[Service]:
    """Load every tokenizer, then serve until closed. Raises ConfigError if one cannot be loaded."""
    del peers  # it needs no other service
    with ThreadPoolExecutor(THREADS, thread_name_prefix="tokenizer") as executor:
        loop = asyncio.get_running_loop()
        clock = clock or SystemClock()
        tokenizers = [
            await loop.run_in_executor(executor, _load, model, clock) for model in config.models
        ]
        servicer = TokenizerServicer(Catalog(tokenizers), Workbench(executor))
        add = tokenizer_pb2_grpc.add_TokenizerServiceServicer_to_server
        yield Service("tokenizer", (Servicer(FULL_NAME, servicer, add),))


def _load(model: ModelSource, clock: Clock) -> HuggingFaceTokenizer:
    try:
        return load(model.name, model.source, clock)
    except ConfigError as error:
        raise ConfigError(f"WEIR_MODELS: the tokenizer of {model.name!r}: {error}") from error


SPEC = ServiceSpec(name="tokenizer", config=Config, open=open_service)
