"""Boxes drawn on the picture that they were found in."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from weir import Box
from weir_cli.failure import Failure

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
FONT_SHARE = 0.025  # of the shorter side
FONT_PIXELS_MIN = 10


def check_target(target: Path) -> None:
    """Raise `Failure` for a file that could not be written: better before the call than after."""
    if target.suffix.lower() not in SUFFIXES:
        raise Failure(f"--plot: {target} must end in one of {', '.join(SUFFIXES)}")
    if not target.parent.is_dir():
        raise Failure(f"--plot: there is no folder {target.parent}")


def draw(picture: Path, boxes: Sequence[Box], target: Path) -> None:
    """Draw boxes with their labels and scores; one colour a label. Raises `Failure`."""
    try:
        with Image.open(picture) as opened:
            # The model saw it upright.
            image = ImageOps.exif_transpose(opened).convert("RGB")
        canvas = ImageDraw.Draw(image)
        font = ImageFont.load_default(max(FONT_PIXELS_MIN, min(image.size) * FONT_SHARE))
        colors = _colors({box.label for box in boxes})
        for box in reversed(boxes):  # the surest on top
            _draw_box(canvas, box, colors[box.label], font)
        image.save(target)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise Failure(f"--plot: {target} could not be drawn: {error}") from error


def _draw_box(
    canvas: ImageDraw.ImageDraw,
    box: Box,
    color: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    thickness = max(1, round(font.getbbox("0")[3] / 8))
    # Pillow wants edges in order, models may answer otherwise.
    left, right = sorted((box.x_min, box.x_max))
    top, bottom = sorted((box.y_min, box.y_max))
    canvas.rectangle((left, top, right, bottom), outline=color, width=thickness)
    text = f"{box.label} {box.score:.2f}".lstrip()
    _, _, width, height = font.getbbox(text)
    x, y = max(0.0, left), max(0.0, top - height - 2 * thickness)
    canvas.rectangle((x, y, x + width + 2 * thickness, y + height + 2 * thickness), fill=color)
    canvas.text((x + thickness, y + thickness), text, fill="black", font=font)


def _colors(labels: set[str]) -> dict[str, tuple[int, int, int]]:
    """Bright enough for black letters, and as far apart as there are labels."""
    colors = {}
    for place, label in enumerate(sorted(labels)):
        red, green, blue = colorsys.hls_to_rgb(place / len(labels), 0.65, 0.9)
        colors[label] = (round(red * 255), round(green * 255), round(blue * 255))
    return colors
