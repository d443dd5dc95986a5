"""Pictures: what comes to the model of every format, and what is refused."""

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from weir_inference.adapters.tasks.pictures import (
    FORMATS,
    PART_BYTES,
    PIXELS_MAX,
    PictureEncoder,
    decoded,
    fitted,
)
from weir_inference.core.prediction import Pictures
from weir_inference.core.processing import Channels, ImagePreprocess, Layout, Resize
from weir_inference.core.tasks.boxes import Placement
from weir_inference.core.tensors import ANY, Datatype, TensorSpec
from weir_kit.errors import InvalidArgument

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def picture(width: int = 24, height: int = 16) -> Image.Image:
    """Smooth colours, so that no format and no resizing changes them much."""
    x, y = np.meshgrid(np.linspace(30, 220, width), np.linspace(40, 200, height))
    return Image.fromarray(np.stack((x, y, (x + y) / 2), -1).astype(np.uint8))


def written(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def pixels(data: bytes, size: tuple[int, int], **how: Any) -> tuple[np.ndarray, Placement]:
    return fitted(data, size, ImagePreprocess(**how), "input.pictures[0]")


async def tensor_of(data: bytes, size: tuple[int, int], **how: Any) -> np.ndarray:
    spec = TensorSpec("x", Datatype.FP32, (ANY,) * 4)
    encoder = PictureEncoder(spec, size, ImagePreprocess(**how))
    (rows,) = [rows async for rows in encoder.rows(Pictures((data,)))]
    return rows.inputs["x"][0]


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_the_same_colours(format: str) -> None:
    found, placement = pixels(written(picture(), format), (16, 24))
    assert (placement.width, placement.height) == (24, 16)
    difference = np.abs(found.astype(int) - np.asarray(picture()))
    assert difference.mean() < 8


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("channels", Channels)
def test_every_mode_is_read_in_the_channels_of_the_model(mode: str, channels: Channels) -> None:
    grey = Image.new("L", (8, 8), 200)
    image = grey.convert("RGBA").convert(mode) if mode != "I;16" else None
    if image is None:
        image = Image.fromarray(np.full((8, 8), 200 << 8, np.uint16))
    found, _ = pixels(written(image), (8, 8), channels=channels)
    assert found.shape == (8, 8, 1 if channels is Channels.GRAY else 3)
    # One bit is dithered: right in the mean.
    assert abs(float(found.mean()) - 200) < (20 if mode == "1" else 2)


def test_what_is_transparent_is_white() -> None:
    for mode, ink in (("RGBA", (0, 0, 0, 0)), ("LA", (0, 0))):
        found, _ = pixels(written(Image.new(mode, (4, 4), ink)), (4, 4))
        assert set(found.ravel().tolist()) == {255}


async def test_numbers_are_scaled_and_ordered_as_the_model_says() -> None:
    data = written(Image.new("RGB", (4, 2), (100, 150, 200)))
    how = {"scale": 0.1, "mean": (1.0, 2.0, 3.0), "std": (2.0, 4.0, 8.0)}
    rgb = [(10 - 1) / 2, (15 - 2) / 4, (20 - 3) / 8]
    first = await tensor_of(data, (2, 4), **how)
    assert first.shape == (3, 2, 4)
    np.testing.assert_allclose(first[:, 1, 3], rgb, rtol=1e-5)
    bgr = [(20 - 1) / 2, (15 - 2) / 4, (10 - 3) / 8]
    last = await tensor_of(data, (2, 4), layout=Layout.NHWC, channels=Channels.BGR, **how)
    assert last.shape == (2, 4, 3)
    np.testing.assert_allclose(last[1, 3], bgr, rtol=1e-5)


@pytest.mark.parametrize("resize", Resize)
@given(
    st.integers(1, 300), st.integers(1, 300), st.integers(1, 60), st.integers(1, 60),
)  # fmt: skip
def test_a_point_of_the_picture_is_where_its_placement_says(
    resize: Resize, width: int, height: int, to_width: int, to_height: int
) -> None:
    # Red is x, green is y: a pixel says where in the picture it comes from.
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    image = np.stack((x / width * 255, y / height * 255, np.full(x.shape, 255)), -1)
    data = written(Image.fromarray(image.astype(np.uint8)))

    found, placement = pixels(data, (to_height, to_width), resize=resize)

    assert found.shape == (to_height, to_width, 3)
    there = found[:, :, 2] > 250  # not a border
    rows, columns = np.nonzero(there)
    assert len(rows) > 0
    from_x = (columns + 0.5 - placement.left) / placement.scale_x / width * 255
    from_y = (rows + 0.5 - placement.top) / placement.scale_y / height * 255
    # Averages at the edges and whole numbers cost at most a pixel on either side.
    for told, seen, n, scale in (
        (from_x, found[there][:, 0], width, placement.scale_x),
        (from_y, found[there][:, 1], height, placement.scale_y),
    ):
        assert np.abs(told - seen).max() <= 255 * (1 + 1 / scale) / n + 2
    if resize is not Resize.LETTERBOX:
        assert there.all()
    if resize is Resize.CROP:
        assert placement.scale_x == pytest.approx(placement.scale_y)


def test_letterbox_borders_have_the_pad_value_on_both_sides() -> None:
    data = written(Image.new("RGB", (20, 10), RED))
    found, placement = pixels(data, (20, 20), resize=Resize.LETTERBOX, pad_value=7)
    assert set(found[:5].ravel().tolist()) == set(found[15:].ravel().tolist()) == {7}
    assert found[5:15].reshape(-1, 3).tolist() == [[*RED]] * 200
    (box,) = placement.in_picture(np.array([[0, 5, 20, 15]], np.float32))
    assert box.tolist() == [0, 0, 20, 10]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("n_times", [1, 40])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_pictures_are_turned_upright(orientation: int, n_times: int, mode: str) -> None:
    upright = np.array([[RED, BLUE, WHITE], [WHITE, WHITE, BLUE]], np.uint8)
    upright = upright.repeat(8 * n_times, 0).repeat(8 * n_times, 1)
    undo = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: np.swapaxes(a, 0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.swapaxes(np.rot90(a, 2), 0, 1),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    image = Image.fromarray(np.ascontiguousarray(undo(upright))).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = written(image, "JPEG" if mode == "RGB" else "PNG", exif=exif)
    found, placement = pixels(data, (2, 3))
    assert (placement.width, placement.height) == (24 * n_times, 16 * n_times)
    inks = np.array([RED, BLUE, WHITE])
    nearest = np.abs(found[:, :, None].astype(int) - inks).sum(-1).argmin(-1)
    assert nearest.tolist() == [[0, 1, 2], [2, 2, 1]]


def test_large_pictures_are_decoded_small_but_keep_their_size() -> None:
    for format in ("JPEG", "PNG"):
        image, width, height = decoded(written(picture(1600, 1200), format), (30, 40))
        assert (width, height) == (1600, 1200)
        assert 80 <= image.width <= 400
        found, _ = pixels(written(picture(1600, 1200), format), (30, 40))
        assert np.abs(found.astype(int) - np.asarray(picture(40, 30))).max() < 12


async def test_parts_are_bounded_in_bytes_and_keep_the_order() -> None:
    spec = TensorSpec("x", Datatype.FP16, (ANY,) * 4)
    size = (2048, 2048)
    encoder = PictureEncoder(spec, size, ImagePreprocess(size=size, channels=Channels.GRAY))
    shades = (10, 20, 30, 40, 50, 60)
    files = tuple(written(Image.new("L", (4, 4), shade)) for shade in shades)
    parts = [rows async for rows in encoder.rows(Pictures(files))]
    assert [len(rows.about) for rows in parts] == [PART_BYTES // (2048 * 2048 * 4), 2]
    first_pixels = [float(row[0, 0, 0]) * 255 for rows in parts for row in rows.inputs["x"]]
    assert first_pixels == pytest.approx(shades, abs=0.2)
    assert parts[0].inputs["x"].dtype == np.float16


def png_of_claimed_size(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 64))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "size", [(PIXELS_MAX // 1000 + 1, 1000), (12_000, 12_000), (60_000, 60_000)]
)
def test_pictures_of_too_many_pixels_are_refused_before_they_are_decoded(
    size: tuple[int, int],
) -> None:
    with pytest.raises(InvalidArgument, match="at most 40,000,000 pixels") as caught:
        pixels(png_of_claimed_size(*size), (8, 8))
    assert caught.value.field == "input.pictures[0]"


async def test_the_picture_at_fault_is_named() -> None:
    spec = TensorSpec("x", Datatype.FP32, (ANY,) * 4)
    encoder = PictureEncoder(spec, (8, 8), ImagePreprocess())
    good = written(picture())
    for bad in (b"", b"GIF89a", b"%PDF-1.7", good[:-40], written(picture(), "TIFF")):
        with pytest.raises(InvalidArgument, match="whole picture in one of JPEG, PNG") as caught:
            _ = [rows async for rows in encoder.rows(Pictures((good, good, bad)))]
        assert caught.value.field == "input.pictures[2]"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", FORMATS)
@given(st.data())
def test_damaged_pictures_are_read_or_refused_but_nothing_else(
    format: str, data: st.DataObject
) -> None:
    whole = bytearray(written(picture(), format))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(whole)))
    for damaged in (bytes(whole), bytes(whole[:end])):
        try:
            found, _ = pixels(damaged, (8, 8))
        except InvalidArgument as error:
            assert error.field == "input.pictures[0]"
        else:
            assert found.shape == (8, 8, 3)
