"""The pipeline of a model version: what its `model.yaml` asks for, checked against its tensors."""

from collections.abc import Callable

from weir_inference.adapters.repository.folder import ModelFiles
from weir_inference.adapters.tasks.blobs import BlobEncoder, read_magika
from weir_inference.adapters.tasks.catalogue import read_catalogue
from weir_inference.adapters.tasks.encoders import picture_encoder, string_encoder, text_encoder
from weir_inference.adapters.tasks.opening import (
    WHOLE,
    Opening,
    class_output,
    ends,
    fault,
    labels_of,
    only_input,
    output_of,
)
from weir_inference.adapters.tasks.text import StringEncoder, TextEncoder, n_tokens, token_places
from weir_inference.core.model_spec import BYTES_TOKENIZER
from weir_inference.core.prediction import Pictures, Texts
from weir_inference.core.processing import Decoder, Pooling
from weir_inference.core.tasks.classify import Classify
from weir_inference.core.tasks.decoders import DECODERS
from weir_inference.core.tasks.detect import Detect
from weir_inference.core.tasks.embed import Embed
from weir_inference.core.tasks.file_type import FileType
from weir_inference.core.tasks.ocr import TURNED, UPRIGHT, Direction, Read
from weir_inference.core.tasks.recommend import (
    CANDIDATES,
    EMBEDDINGS,
    HISTORY,
    QUERY,
    SCORES,
    Recommend,
)
from weir_inference.core.tasks.rerank import Rerank
from weir_inference.core.tasks.task import Signature, Task, batches
from weir_inference.core.tasks.token_classify import TokenClassify
from weir_inference.core.tensors import ANY, Datatype, TensorSpec


def open_task(files: ModelFiles, model: Signature, ranker: Signature | None = None) -> Task | None:
    """The pipeline of a version; None where it generates or takes tensors alone.

    `model` is its loaded `file`, `ranker` its loaded `ranker`. Reads files, so it belongs in a
    thread. Raises `BadModelFolder` where the spec, the files and the tensors do not fit.
    """
    build = BUILDERS.get(files.spec.task)
    return build(Opening(files.folder, files.spec, model, ranker)) if build else None


def _text_classification(at: Opening) -> Task:
    labels = labels_of(at)
    encoder: TextEncoder[int] | StringEncoder
    strings = [spec for spec in at.model.inputs if spec.datatype is Datatype.BYTES]
    if at.spec.tokenizer is None and len(at.model.inputs) == len(strings) == 1:
        encoder = string_encoder(strings[0])
    else:
        encoder = text_encoder(at, n_tokens)
    output = class_output(at, labels)
    return Classify(Texts, encoder, at.model, output, labels, at.spec.postprocess)


def _token_classification(at: Opening) -> Task:
    labels = labels_of(at)
    output = output_of(at, "[rows, tokens, labels]", lambda spec: ends(spec, 3, len(labels)))
    encoder = text_encoder(at, token_places)
    return TokenClassify(encoder, at.model, output, labels, at.spec.postprocess)


def _embedding(at: Opening) -> Task:
    told, dims = {
        None: ("of two or three dimensions", (2, 3)),
        Pooling.NONE: ("[rows, dimensions]", (2,)),
    }.get(at.spec.postprocess.pooling, ("[rows, tokens, dimensions]", (3,)))
    output = output_of(at, told, lambda spec: len(spec.shape) in dims)
    return Embed(text_encoder(at, n_tokens), at.model, output, at.spec.postprocess)


def _rerank(at: Opening) -> Task:
    output = output_of(
        at,
        "[rows], [rows, 1] or [rows, 2]",
        lambda spec: (
            len(spec.shape) == 1 or (len(spec.shape) == 2 and spec.shape[1] in (ANY, 1, 2))
        ),
    )
    encoder = text_encoder(at, n_tokens, pairs=True)
    return Rerank(encoder, at.model, output, at.spec.postprocess)


def _image_classification(at: Opening) -> Task:
    labels = labels_of(at)
    encoder, _ = picture_encoder(at)
    output = class_output(at, labels)
    return Classify(Pictures, encoder, at.model, output, labels, at.spec.postprocess)


def _object_detection(at: Opening) -> Task:
    labels = labels_of(at)
    encoder, size = picture_encoder(at)
    decoder = at.spec.postprocess.decoder
    assert decoder is not None, "model_spec requires it"
    n = len(labels)
    match decoder:
        case Decoder.ULTRAFACE:
            scores = output_of(at, "[rows, n, 1 + labels]", lambda spec: ends(spec, 3, 1 + n))
            boxes = output_of(
                at,
                "[rows, n, 4]",
                lambda spec: ends(spec, 3, 4) and spec.name != scores,
            )
            outputs = [scores, boxes]
        case Decoder.FASTESTDET:
            outputs = [output_of(at, "[rows, n, 5 + labels]", lambda spec: ends(spec, 3, 5 + n))]
        case Decoder.YOLO:
            outputs = [output_of(at, "[rows, n, 4 or 5 + labels]", lambda spec: _is_yolo(spec, n))]
    return Detect(encoder, at.model, outputs, DECODERS[decoder], size, labels, at.spec.postprocess)


def _ocr(at: Opening) -> Task:
    labels = labels_of(at)
    encoder, _ = picture_encoder(at)
    own = at.spec.postprocess
    if sorted(labels) == sorted((UPRIGHT, TURNED)):
        return Direction(encoder, at.model, class_output(at, labels), labels, own)
    told = "[rows, steps, 1 + characters], the labels being the characters"
    output = output_of(at, told, lambda spec: ends(spec, 3, 1 + len(labels)))
    return Read(encoder, at.model, output, labels, own)


def _file_type(at: Opening) -> Task:
    name = at.spec.tokenizer
    if name is None or name == BYTES_TOKENIZER:
        raise fault("tokenizer must name the model's config.min.json")
    seen, types = read_magika(at.folder / name)
    spec = only_input(at)
    if spec.datatype not in WHOLE or not ends(spec, 2, seen.width):
        raise fault(f"file: its input {spec.name} must be whole numbers [rows, {seen.width}]")
    output = class_output(at, types.labels)
    return FileType(BlobEncoder(spec, seen), at.model, output, types, at.spec.postprocess)


def _recommendation(at: Opening) -> Task:
    if at.spec.items is None:
        raise fault("items must name the file of the items, JSON lines of id and title")
    catalogue = read_catalogue(at.folder / at.spec.items)
    n_items = len(catalogue.ids)
    history = only_input(at)
    if history.name != HISTORY or history.datatype is not Datatype.INT64 or len(history.shape) != 2:
        raise fault(f"file: its input must be {HISTORY}, INT64 [rows, items]")
    outputs = {spec.name: spec for spec in at.model.outputs}
    if SCORES not in outputs or not ends(outputs[SCORES], 2, n_items):
        raise fault(
            f"file: it must give {SCORES} [rows, {n_items}], one for each of {at.spec.items}"
        )
    if at.spec.ranker is not None:
        _check_ranker(at, outputs)
    explains = EMBEDDINGS in outputs
    if explains and outputs[EMBEDDINGS].shape[:1] not in ((ANY,), (n_items,)):
        raise fault(f"file: its {EMBEDDINGS} must be [{n_items}, dimensions]")
    return Recommend(at.model, catalogue, at.spec.postprocess, at.spec.ranker, explains=explains)


def _check_ranker(at: Opening, outputs: dict[str, TensorSpec]) -> None:
    if QUERY not in outputs:
        raise fault(f"file: it must give {QUERY} [rows, dimensions] for the ranker")
    assert at.ranker is not None, "whoever loads the version loads its ranker"
    names = {spec.name for spec in at.ranker.inputs}
    if names != {QUERY, CANDIDATES, HISTORY} or SCORES not in {s.name for s in at.ranker.outputs}:
        raise fault(f"ranker: it must take {QUERY}, {CANDIDATES} and {HISTORY}, and give {SCORES}")
    if not batches(at.ranker):
        raise fault("ranker: its inputs must have any number of rows")


def _is_yolo(spec: TensorSpec, n_labels: int) -> bool:
    return len(spec.shape) == 3 and any(
        size in (ANY, 4 + n_labels, 5 + n_labels) for size in spec.shape[1:]
    )


BUILDERS: dict[str, Callable[[Opening], Task]] = {
    "text-classification": _text_classification,
    "language-id": _text_classification,
    "token-classification": _token_classification,
    "embedding": _embedding,
    "rerank": _rerank,
    "image-classification": _image_classification,
    "object-detection": _object_detection,
    "ocr": _ocr,
    "file-type": _file_type,
    "recommendation": _recommendation,
}
