"""The encoder that a version's `model.yaml` asks for, checked against the model's inputs."""

from collections.abc import Callable
from typing import TypeVar

from weir_inference.adapters.tasks.opening import FLOATS, WHOLE, Opening, ends, fault, only_input
from weir_inference.adapters.tasks.pictures import PictureEncoder
from weir_inference.adapters.tasks.text import (
    IDS,
    MASK,
    TYPES,
    StringEncoder,
    TextEncoder,
    Tokenize,
    Tokens,
    byte_tokenizer,
    file_tokenizer,
)
from weir_inference.core.model_spec import BYTES_TOKENIZER
from weir_inference.core.processing import Channels, ImagePreprocess, Layout, TextPreprocess
from weir_inference.core.tensors import ANY, TensorSpec

T = TypeVar("T")


def string_encoder(spec: TensorSpec) -> StringEncoder:
    if len(spec.shape) != 1 and not ends(spec, 2, 1):
        raise fault(f"file: its input {spec.name} must be [rows] or [rows, 1] to take strings")
    return StringEncoder(spec)


def text_encoder(
    at: Opening, about: Callable[[Tokens], T], *, pairs: bool = False
) -> TextEncoder[T]:
    how = at.spec.preprocess
    assert isinstance(how, TextPreprocess), "tasks of texts have it"
    known = (IDS, MASK, TYPES)
    if IDS not in {spec.name for spec in at.model.inputs}:
        raise fault(f"file: it must have an input {IDS}")
    lengths = [length for length in (how.max_tokens,) if length is not None]
    for spec in at.model.inputs:
        if spec.name not in known:
            raise fault(f"file: its input {spec.name} is none of {', '.join(known)}")
        if spec.datatype not in WHOLE or len(spec.shape) != 2:
            raise fault(f"file: its input {spec.name} must be whole numbers [rows, tokens]")
        if spec.shape[1] != ANY:
            lengths.append(spec.shape[1])
    tokenize, pad_id = _tokenizer(at, min(lengths, default=None), how.lowercase, pairs)
    return TextEncoder(tokenize, at.model.inputs, about, pad_id)


def _tokenizer(
    at: Opening, max_tokens: int | None, lowercase: bool, pairs: bool
) -> tuple[Tokenize, int]:
    name = at.spec.tokenizer
    if name is None:
        raise fault(f"tokenizer must name a tokenizer.json, or be {BYTES_TOKENIZER}")
    if name != BYTES_TOKENIZER:
        return file_tokenizer(at.folder / name, max_tokens, lowercase=lowercase, pairs=pairs)
    if pairs:
        raise fault(f"tokenizer must name a tokenizer.json: {BYTES_TOKENIZER} cannot join texts")
    return byte_tokenizer(max_tokens, lowercase=lowercase), 0


def picture_encoder(at: Opening) -> tuple[PictureEncoder, tuple[int, int]]:
    how = at.spec.preprocess
    assert isinstance(how, ImagePreprocess), "tasks of pictures have it"
    spec = only_input(at)
    n_channels = 1 if how.channels is Channels.GRAY else 3
    if spec.datatype not in FLOATS or len(spec.shape) != 4:
        raise fault(f"file: its input {spec.name} must be floating, of four dimensions")
    if how.layout is Layout.NCHW:
        _, channels, height, width = spec.shape
    else:
        _, height, width, channels = spec.shape
    size = how.size or (height, width)
    if ANY in size:
        raise fault("preprocess.size must be given: the model takes pictures of any size")
    for given, own in zip((n_channels, *size), (channels, height, width), strict=True):
        if own not in (ANY, given):
            raise fault(
                f"preprocess: {how.layout} with {n_channels} channels and size {[*size]} does not "
                f"fit the input {spec.name} {[*spec.shape]}"
            )
    return PictureEncoder(spec, size, how), size
