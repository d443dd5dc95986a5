"""What is done to inputs before a model and to outputs after it, as a `model.yaml` asks for it.

Which keys make sense follows from the task; others are refused, so that none is silently ignored.
"""

from dataclasses import dataclass
from enum import StrEnum

from weir_inference.core.spec_fields import Fields


class Task(StrEnum):
    """What a model is for. `tensors` is served over the Open Inference Protocol only."""

    GENERATION = "generation"
    TEXT_CLASSIFICATION = "text-classification"
    TOKEN_CLASSIFICATION = "token-classification"  # noqa: S105 - no password
    EMBEDDING = "embedding"
    RERANK = "rerank"
    IMAGE_CLASSIFICATION = "image-classification"
    OBJECT_DETECTION = "object-detection"
    OCR = "ocr"
    LANGUAGE_ID = "language-id"
    FILE_TYPE = "file-type"
    RECOMMENDATION = "recommendation"
    TENSORS = "tensors"


class Channels(StrEnum):
    """The order of an image's channels."""

    RGB = "rgb"
    BGR = "bgr"
    GRAY = "gray"


class Resize(StrEnum):
    """How an image gets the model's size: whole and bent, whole with borders, or its middle."""

    STRETCH = "stretch"
    LETTERBOX = "letterbox"
    CROP = "crop"


class Layout(StrEnum):
    """The order of an image tensor's dimensions."""

    NCHW = "nchw"
    NHWC = "nhwc"


class Activation(StrEnum):
    """What turns a model's outputs into scores."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    NONE = "none"


class Pooling(StrEnum):
    """How one vector comes of a text's tokens; `none` where the model has pooled already."""

    MEAN = "mean"
    CLS = "cls"
    MAX = "max"
    NONE = "none"


class Decoder(StrEnum):
    """How boxes are read from a detection model's outputs."""

    ULTRAFACE = "ultraface"
    FASTESTDET = "fastestdet"
    YOLO = "yolo"


@dataclass(frozen=True)
class TextPreprocess:
    """`max_tokens` is where a text is cut; None where the model has no limit."""

    max_tokens: int | None = None
    lowercase: bool = False


@dataclass(frozen=True)
class ImagePreprocess:
    """A pixel x in 0..255 becomes (x · scale - mean) / std, by channel.

    `size` is height and width, None for the image's own. `mean` and `std` have one number or one a
    channel. `pad_value` (0..255) fills a letterbox's borders.
    """

    size: tuple[int, int] | None = None
    channels: Channels = Channels.RGB
    scale: float = 1.0 / 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    resize: Resize = Resize.STRETCH
    layout: Layout = Layout.NCHW
    pad_value: int = 0


@dataclass(frozen=True)
class Postprocess:
    """None where the model.yaml does not say: the task then has its own choice.

    `threshold` drops classes and `score` drops boxes below it; `iou` is the overlap from which of
    two boxes the weaker goes; `normalize` makes embeddings of length 1.
    """

    activation: Activation | None = None
    threshold: float | None = None
    top_k: int | None = None
    pooling: Pooling | None = None
    normalize: bool = False
    decoder: Decoder | None = None
    iou: float | None = None
    score: float | None = None


TEXT_KEYS = ("max_tokens", "lowercase")
IMAGE_KEYS = ("size", "channels", "scale", "mean", "std", "resize", "layout", "pad_value")
SIDE_MAX = 8192

TEXTS = {
    Task.TEXT_CLASSIFICATION,
    Task.TOKEN_CLASSIFICATION,
    Task.EMBEDDING,
    Task.RERANK,
    Task.LANGUAGE_ID,
}
IMAGES = {Task.IMAGE_CLASSIFICATION, Task.OBJECT_DETECTION, Task.OCR}

CLASSIFYING = ("activation", "threshold", "top_k")
POSTPROCESS_KEYS: dict[Task, tuple[str, ...]] = {
    Task.TEXT_CLASSIFICATION: CLASSIFYING,
    Task.TOKEN_CLASSIFICATION: ("activation", "threshold"),
    Task.EMBEDDING: ("pooling", "normalize"),
    Task.RERANK: ("activation", "threshold", "top_k"),
    Task.IMAGE_CLASSIFICATION: CLASSIFYING,
    Task.OBJECT_DETECTION: ("decoder", "activation", "iou", "score", "top_k"),
    Task.OCR: ("activation", "iou", "score"),
    Task.LANGUAGE_ID: CLASSIFYING,
    Task.FILE_TYPE: CLASSIFYING,
    Task.RECOMMENDATION: ("activation", "top_k"),
}


def preprocess_of(fields: Fields, task: Task) -> TextPreprocess | ImagePreprocess | None:
    """What `preprocess` asks for; None for tasks that have none. Raises `InvalidArgument`."""
    if task in TEXTS:
        text = fields.inner("preprocess", TEXT_KEYS)
        return TextPreprocess(
            text.integer("max_tokens", 1, 1 << 20, None), text.flag("lowercase", False)
        )
    if task in IMAGES:
        return _image(fields.inner("preprocess", IMAGE_KEYS))
    fields.inner("preprocess", ())
    return None


def postprocess_of(fields: Fields, task: Task) -> Postprocess:
    """What `postprocess` asks for. Raises `InvalidArgument` for keys that the task has not."""
    inner = fields.inner("postprocess", POSTPROCESS_KEYS.get(task, ()))
    decoder = inner.word("decoder", Decoder, None)
    if task is Task.OBJECT_DETECTION:
        inner.required("decoder", decoder)
    return Postprocess(
        activation=inner.word("activation", Activation, None),
        threshold=inner.number("threshold", -1e6, 1e6, None),
        top_k=inner.integer("top_k", 1, 1000, None),
        pooling=inner.word("pooling", Pooling, None),
        normalize=inner.flag("normalize", False),
        decoder=decoder,
        iou=inner.number("iou", 0.0, 1.0, None),
        score=inner.number("score", 0.0, 1.0, None),
    )


def _image(inner: Fields) -> ImagePreprocess:
    channels = inner.word("channels", Channels, Channels.RGB)
    n_channels = 1 if channels is Channels.GRAY else 3
    size = inner.integers("size", 1, SIDE_MAX, 2)
    if "size" in inner and len(size) != 2:
        raise inner.fault("size", f"must be [height, width], each 1..{SIDE_MAX}")
    mean = inner.numbers("mean", -1e6, 1e6, 3) or (0.0,)
    std = inner.numbers("std", 1e-6, 1e6, 3) or (1.0,)
    for key, found in (("mean", mean), ("std", std)):
        if len(found) not in (1, n_channels):
            raise inner.fault(key, f"must be one number, or {n_channels} for {channels}")
    return ImagePreprocess(
        size=(size[0], size[1]) if size else None,
        channels=channels,
        scale=inner.number("scale", 1e-9, 1e6, 1.0 / 255.0),
        mean=mean,
        std=std,
        resize=inner.word("resize", Resize, Resize.STRETCH),
        layout=inner.word("layout", Layout, Layout.NCHW),
        pad_value=inner.integer("pad_value", 0, 255, 0),
    )
