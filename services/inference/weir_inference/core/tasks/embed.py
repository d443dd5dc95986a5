"""Embedding: a vector for each text; and how near texts are to a query by their vectors."""

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weir_inference.core.prediction import (
    Embedding,
    Prediction,
    PredictionInput,
    PredictionOptions,
    RerankQuery,
    Score,
    Texts,
)
from weir_inference.core.processing import Pooling, Postprocess
from weir_inference.core.tasks.scores import Floats
from weir_inference.core.tasks.task import Encoder, Run, Signature, run_rows, taken
from weir_inference.core.tensors import Tensor
from weir_kit.errors import InvalidArgument


@dataclass(frozen=True)
class Embed:
    """A `Task` over one output [rows, tokens, dimensions], or [rows, dimensions] pooled already.

    The encoder's `about` is a text's number of tokens, those that stand for no text included.
    """

    encoder: Encoder[Texts, int]
    signature: Signature
    output: str
    postprocess: Postprocess

    @property
    def kinds(self) -> tuple[type[PredictionInput], ...]:
        return (Texts, RerankQuery)

    async def predict(
        self, run: Run, asked: PredictionInput, options: PredictionOptions
    ) -> list[Prediction]:
        """`Embedding` of every text; of a rerank query the `Score` (cosine) of every document."""
        if isinstance(asked, RerankQuery):
            return await self._rerank(run, asked, options)
        vectors = await self._vectors(run, taken(asked, Texts, "texts or rerank"), options)
        return [Embedding(vector) for vector in vectors]

    async def _rerank(
        self, run: Run, asked: RerankQuery, options: PredictionOptions
    ) -> list[Prediction]:
        texts = Texts((asked.query, *asked.documents))
        query, *documents = map(normalised, await self._vectors(run, texts, options))
        return [Score(float(document @ query)) for document in documents]

    async def _vectors(self, run: Run, texts: Texts, options: PredictionOptions) -> list[Floats]:
        vectors: list[Floats] = []
        pooling = self.postprocess.pooling or Pooling.MEAN
        async for rows in self.encoder.rows(texts):
            (states,) = await run_rows(run, self.signature, rows.inputs, (self.output,))
            if states.ndim == 2:
                pooled = states.astype(np.float32)
            else:
                # In a thread: of many tokens it takes longer than the event loop may stand still.
                pooled = await asyncio.to_thread(pool, states, np.array(rows.about), pooling)
            if options.dimensions is not None:
                pooled = cut(pooled, options.dimensions)
            elif self.postprocess.normalize:
                pooled = normalised(pooled)
            vectors.extend(pooled)
        return vectors


def pool(states: Tensor, lengths: NDArray[np.int64], pooling: Pooling) -> Floats:
    """One vector a row, fp32 [rows, dimensions], of states [rows, tokens, dimensions].

    `lengths` are the rows' numbers of tokens; those after them are padding and do not count. A row
    without any is 0.
    """
    x = states.astype(np.float32)
    if pooling is Pooling.CLS:
        return x[:, 0]
    there = (np.arange(x.shape[1]) < lengths[:, None])[:, :, None]
    if pooling is Pooling.MAX:
        most = np.where(there, x, -np.inf).max(1)
        return np.where(lengths[:, None] > 0, most, np.float32(0))
    total: Floats = np.where(there, x, np.float32(0)).sum(1)
    return total / np.maximum(lengths, 1).astype(np.float32)[:, None]


def cut(vectors: Floats, dimensions: int) -> Floats:
    """The first dimensions, normalised again (Kusupati et al. 2022). Raises `InvalidArgument`."""
    whole = vectors.shape[-1]
    if not 1 <= dimensions <= whole:
        raise InvalidArgument(
            f"dimensions must be 1..{whole}, this model's", field="options.dimensions"
        )
    return normalised(vectors[..., :dimensions])


def normalised(vectors: Floats) -> Floats:
    """Of length 1; a vector of zeros stays."""
    lengths: Floats = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Floats = np.divide(vectors, np.maximum(lengths, np.float32(1e-12)))
    return unit
