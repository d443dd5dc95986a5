"""The asynchronous client."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

import grpc

from weir.answers import Generation, Model, Piece, generation_of, models_of
from weir.asking import (
    CHANNEL_OPTIONS,
    DEADLINE_S,
    Input,
    Options,
    count_request,
    metadata_of,
    spec_of,
)
from weir.failures import raising_errors
from weir.items import Asked, File, PredictOptions, User, predict_request
from weir.prediction import (
    Boxes,
    Kind,
    Line,
    Prediction,
    Ranked,
    Recommendation,
    ScoredClass,
    Span,
    prediction_of,
    ranked,
)
from weir.telling import Telling
from weir_contracts.gateway.v1 import (
    generation_pb2,
    generation_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    prediction_pb2_grpc,
)


class AsyncTextStream:
    """Text as it comes: iterate, inside `async with`. Leaving early cancels the generation.

    Iterating gives the first choice's text; `pieces()` gives that of all choices, with
    log-probabilities. `result` is the whole generation once the iteration has ended.
    """

    def __init__(self, call: Any, address: str) -> None:
        self._call = call
        self._address = address
        self._telling = Telling()

    @property
    def request_id(self) -> str:
        """The id that the request is known by; empty until it has started."""
        return self._telling.request_id

    @property
    def result(self) -> Generation:
        """The whole generation. Raises `RuntimeError` before the stream has ended."""
        return self._telling.result

    async def __aiter__(self) -> AsyncIterator[str]:
        async for piece in self.pieces():
            if piece.choice == 0 and piece.text:
                yield piece.text

    async def pieces(self) -> AsyncIterator[Piece]:
        """The pieces of all choices, as they come."""
        while True:
            with raising_errors(self._address):
                event = await self._call.read()
            if event is grpc.aio.EOF:
                return
            if piece := self._telling.take(event):
                yield piece

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Stop the generation. What has come is charged."""
        self._call.cancel()


class AsyncClient:
    """A client of the gateway's gRPC API, for one event loop: make it inside the loop.

    `address` is `host:port`. `credentials` turn TLS on: `grpc.ssl_channel_credentials()`. Calls end
    after `deadline_s` seconds at the latest, and raise the errors in `weir.errors`.
    """

    def __init__(
        self,
        address: str,
        api_key: str,
        *,
        deadline_s: float = DEADLINE_S,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._metadata = metadata_of(api_key)
        self._address = address
        self._deadline_s = deadline_s
        self._channel = (
            grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
            if credentials is None
            else grpc.aio.secure_channel(address, credentials, options=CHANNEL_OPTIONS)
        )
        self._generation: Any = generation_pb2_grpc.GenerationServiceStub(self._channel)
        self._predictions: Any = prediction_pb2_grpc.PredictionServiceStub(self._channel)
        self._models: Any = model_pb2_grpc.ModelServiceStub(self._channel)

    async def generate(
        self,
        model: str,
        text: Input,
        *,
        request_id: str = "",
        deadline_s: float | None = None,
        **options: Unpack[Options],
    ) -> Generation:
        """Continue a prompt or answer a conversation, at once.

        `request_id` is an id of your own for the ledger and the trace: 1 to 64 letters, digits,
        hyphens and underscores, never used before.
        """
        request = generation_pb2.GenerateRequest(
            spec=spec_of(model, text, options), request_id=request_id
        )
        return generation_of(await self._call(self._generation.Generate, request, deadline_s))

    def stream(
        self,
        model: str,
        text: Input,
        *,
        request_id: str = "",
        deadline_s: float | None = None,
        **options: Unpack[Options],
    ) -> AsyncTextStream:
        """As `generate`, with the text as it comes: `async with client.stream(…) as stream`."""
        request = generation_pb2.StreamGenerateRequest(
            spec=spec_of(model, text, options), request_id=request_id
        )
        call = self._generation.StreamGenerate(
            request, timeout=deadline_s or self._deadline_s, metadata=self._metadata
        )
        return AsyncTextStream(call, self._address)

    async def count_tokens(
        self, model: str, text: Input, *, deadline_s: float | None = None
    ) -> int:
        """How many prompt tokens `text` has for the model, free of charge."""
        request = count_request(model, text)
        response = await self._call(self._generation.CountTokens, request, deadline_s)
        return int(response.input_tokens)

    async def predict(self, model: str, **asked: Unpack[Asked]) -> Prediction[Any]:
        """Have a model answer in one piece for every item: `predict("digits", images=["7.png"])`.

        What the answers are, the model's task decides; `kind` of the prediction names it.
        """
        return await self._predict(model, None, **asked)

    async def classify(
        self,
        model: str,
        *,
        texts: str | Sequence[str] | None = None,
        images: File | Sequence[File] | None = None,
        blobs: File | Sequence[File] | None = None,
        **options: Unpack[PredictOptions],
    ) -> Prediction[tuple[ScoredClass, ...]]:
        """The likeliest classes of texts, pictures or other files, whichever the model takes."""
        return await self._predict(
            model, Kind.CLASSES, texts=texts, images=images, blobs=blobs, **options
        )

    async def find_spans(
        self, model: str, texts: str | Sequence[str], **options: Unpack[PredictOptions]
    ) -> Prediction[tuple[Span, ...]]:
        """Names, places and what else a token-classification model finds in texts."""
        return await self._predict(model, Kind.SPANS, texts=texts, **options)

    async def embed(
        self, model: str, texts: str | Sequence[str], **options: Unpack[PredictOptions]
    ) -> Prediction[list[float]]:
        """An embedding of each text."""
        return await self._predict(model, Kind.EMBEDDING, texts=texts, **options)

    async def rerank(
        self, model: str, query: str, documents: Sequence[str], **options: Unpack[PredictOptions]
    ) -> Prediction[Ranked]:
        """The documents by how well they answer the query, the best first."""
        scored = await self._predict(model, Kind.SCORE, query=query, documents=documents, **options)
        return ranked(scored, documents)

    async def detect(
        self, model: str, images: File | Sequence[File], **options: Unpack[PredictOptions]
    ) -> Prediction[Boxes]:
        """The things in pictures, and where."""
        return await self._predict(model, Kind.BOXES, images=images, **options)

    async def read_lines(
        self, model: str, images: File | Sequence[File], **options: Unpack[PredictOptions]
    ) -> Prediction[tuple[Line, ...]]:
        """The lines of text in pictures, by an ocr model."""
        return await self._predict(model, Kind.LINES, images=images, **options)

    async def recommend(
        self, model: str, users: User | Sequence[User], **options: Unpack[PredictOptions]
    ) -> Prediction[tuple[Recommendation, ...]]:
        """What each user may like."""
        return await self._predict(model, Kind.RECOMMENDATIONS, users=users, **options)

    async def models(self, *, deadline_s: float | None = None) -> list[Model]:
        """The models that the key may use, by name."""
        request = model_pb2.ListModelsRequest()
        return models_of(await self._call(self._models.ListModels, request, deadline_s))

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.close()

    async def _predict(
        self, model: str, wanted: Kind | None, **asked: Unpack[Asked]
    ) -> Prediction[Any]:
        # Files are read, which may take its time, beside the loop.
        request = await asyncio.to_thread(predict_request, model, asked)
        response = await self._call(self._predictions.Predict, request, asked.get("deadline_s"))
        return prediction_of(response, wanted)

    async def _call(self, method: Any, request: Any, deadline_s: float | None) -> Any:
        with raising_errors(self._address):
            return await method(
                request, timeout=deadline_s or self._deadline_s, metadata=self._metadata
            )
