"""Pictures as a model's input: decoded within bounds, upright, in its size, colours and layout."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from weir_inference.adapters.repository.in_thread import Stop, in_thread
from weir_inference.core.prediction import Pictures
from weir_inference.core.processing import Channels, ImagePreprocess, Layout, Resize
from weir_inference.core.tasks.boxes import Placement
from weir_inference.core.tasks.task import Rows
from weir_inference.core.tensors import TensorSpec
from weir_kit.errors import InvalidArgument

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
PIXELS_MAX = 40_000_000
PART_BYTES = 64 << 20  # of prepared pictures at a time
DECODING_MAX = 2  # calls of a model that decode at a time: a picture may take 600 MB
SHARPNESS = 2  # a picture is made smaller by whole steps down to this many times its final size
# By EXIF's orientation; those from SIDEWAYS on exchange width and height.
UPRIGHT_BY = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = 5
WHITE = (255, 255, 255, 255)


@dataclass(frozen=True)
class Fitting:
    """Which part of a picture (left, upper, right, lower) becomes how large, and where it goes."""

    region: tuple[float, float, float, float]
    size: tuple[int, int]  # width, height
    left: int
    top: int


class PictureEncoder:
    """An `Encoder` of pictures into one input of four dimensions; `size` is height and width."""

    def __init__(self, spec: TensorSpec, size: tuple[int, int], how: ImagePreprocess) -> None:
        self._spec = spec
        self._size = size
        self._how = how
        n_channels = 1 if how.channels is Channels.GRAY else 3
        self._n_a_part = max(1, PART_BYTES // (size[0] * size[1] * n_channels * 4))
        self._factor = (how.scale / np.array(how.std)).astype(np.float32)
        self._shift = (-np.array(how.mean) / np.array(how.std)).astype(np.float32)
        self._decoding = asyncio.Semaphore(DECODING_MAX)

    async def rows(self, asked: Pictures) -> AsyncIterator[Rows[Placement]]:
        """See `Encoder.rows`."""
        for start in range(0, len(asked.pictures), self._n_a_part):
            part = asked.pictures[start : start + self._n_a_part]
            async with self._decoding:
                rows = await in_thread(partial(self._rows, part, start))
            yield rows

    def _rows(self, pictures: Sequence[bytes], start: int, stop: Stop) -> Rows[Placement]:
        prepared: list[NDArray[np.float32]] = []
        placements: list[Placement] = []
        for i, data in enumerate(pictures, start):
            stop.check()
            pixels, placement = fitted(data, self._size, self._how, f"input.pictures[{i}]")
            prepared.append(self._tensor(pixels))
            placements.append(placement)
        tensor = np.stack(prepared).astype(self._spec.datatype.dtype, copy=False)
        return Rows({self._spec.name: tensor}, placements)

    def _tensor(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self._how.channels is Channels.BGR:
            pixels = pixels[:, :, ::-1]
        scaled: NDArray[np.float32] = pixels * self._factor + self._shift
        return scaled.transpose(2, 0, 1) if self._how.layout is Layout.NCHW else scaled


def fitted(
    data: bytes, size: tuple[int, int], how: ImagePreprocess, field: str
) -> tuple[NDArray[np.uint8], Placement]:
    """A picture in a model's size, uint8 [height, width, channels], and how it lies there.

    Raises `InvalidArgument` for `field` where it is no picture or too large.
    """
    try:
        image, width, height = decoded(data, size)
    except PictureTooLarge as error:
        raise InvalidArgument(str(error), field=field) from error
    except Exception as error:  # whatever a decoder stumbles over, it is the bytes that are bad
        raise InvalidArgument(
            f"must be a whole picture in one of {', '.join(FORMATS)}", field=field
        ) from error
    fitting = fitting_of((width, height), (size[1], size[0]), how.resize)
    part = image.convert("L" if how.channels is Channels.GRAY else "RGB").resize(
        fitting.size,
        Image.Resampling.BILINEAR,
        box=_in_smaller(fitting.region, image, width, height),
    )
    pixels = np.asarray(part).reshape(fitting.size[1], fitting.size[0], -1)
    left, top, right, lower = fitting.region
    scale_x = fitting.size[0] / (right - left)
    scale_y = fitting.size[1] / (lower - top)
    placement = Placement(
        width, height, scale_x, scale_y, fitting.left - left * scale_x, fitting.top - top * scale_y
    )
    if fitting.size == (size[1], size[0]):
        return pixels, placement
    canvas = np.full((*size, pixels.shape[2]), how.pad_value, np.uint8)
    canvas[
        fitting.top : fitting.top + fitting.size[1], fitting.left : fitting.left + fitting.size[0]
    ] = pixels
    return canvas, placement


def decoded(data: bytes, size: tuple[int, int]) -> tuple[Image.Image, int, int]:
    """A picture, upright and without transparency, and its width and height in the file.

    The picture itself may be smaller than that, though not much smaller than `size`. Raises
    `PictureTooLarge`, and whatever Pillow raises for bytes that are no picture.
    """
    image: Image.Image
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureTooLarge from error
    if image.width * image.height > PIXELS_MAX:
        raise PictureTooLarge
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    sideways = orientation in UPRIGHT_BY and orientation >= SIDEWAYS
    width, height = image.size[::-1] if sideways else image.size
    wanted = (SHARPNESS * size[1], SHARPNESS * size[0])
    if sideways:
        wanted = wanted[::-1]
    image.draft("RGB", wanted)  # a JPEG of many pixels need not be decoded in full
    smaller = min(image.width // wanted[0], image.height // wanted[1])
    upright = _opaque(_eight_bits(image).reduce(max(1, smaller)))
    if orientation in UPRIGHT_BY:
        upright = upright.transpose(UPRIGHT_BY[orientation])
    return upright, width, height


class PictureTooLarge(Exception):
    """It has more pixels than are decoded."""

    def __init__(self) -> None:
        super().__init__(f"must have at most {PIXELS_MAX:,} pixels")


def fitting_of(picture: tuple[int, int], target: tuple[int, int], resize: Resize) -> Fitting:
    """How a picture gets to a target size; all sizes are width, height."""
    (width, height), (to_width, to_height) = picture, target
    whole = (0.0, 0.0, float(width), float(height))
    scales = (to_width / width, to_height / height)
    match resize:
        case Resize.STRETCH:
            return Fitting(whole, target, 0, 0)
        case Resize.LETTERBOX:
            scale = min(scales)
            size = (
                min(to_width, max(1, round(width * scale))),
                min(to_height, max(1, round(height * scale))),
            )
            return Fitting(whole, size, (to_width - size[0]) // 2, (to_height - size[1]) // 2)
        case Resize.CROP:
            scale = max(scales)
            left = max(0.0, (width - to_width / scale) / 2)
            top = max(0.0, (height - to_height / scale) / 2)
            return Fitting((left, top, width - left, height - top), target, 0, 0)


def _in_smaller(
    region: tuple[float, float, float, float], image: Image.Image, width: int, height: int
) -> tuple[float, float, float, float]:
    """A region of a picture in the pixels of the smaller image that was made of it."""
    x, y = image.width / width, image.height / height
    left, top, right, lower = region
    return left * x, top * y, min(right * x, image.width), min(lower * y, image.height)


def _eight_bits(image: Image.Image) -> Image.Image:
    """In a mode whose pixels can be averaged."""
    if image.mode.startswith("I"):  # Pillow would cut 16 bits off at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("P", "PA"):
        return image.convert("RGBA")
    return image


def _opaque(image: Image.Image) -> Image.Image:
    """On white where it is transparent."""
    if image.mode not in ("RGBA", "LA"):
        return image
    over = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", over.size, WHITE), over)
