"""A clip's poses beside each other in one picture (the extra ``render``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from avatarpool.protocol.keyframes import FRAMES_PER_SECOND
from avatarpool.view.portrait import BACKGROUND, HEIGHT, WIDTH

COLUMNS, ROWS = 6, 4

FACE_WIDTH = WIDTH // 2
"""Of each portrait on the sheet."""

_FACE_HEIGHT = HEIGHT // 2
_CELL_HEIGHT = _FACE_HEIGHT + 30  # with the time below the face
_GAP = 16
_INK = "#39434f"


def write_contact_sheet(
    file: BinaryIO,
    pictures: Iterable[Image.Image],
    numbers: Sequence[int],
    tick: Callable[[], object],
    *,
    comment: str = "",
) -> None:
    """Write a PNG of faces beside each other, `COLUMNS` to a row, with their times.

    Args:
        file: Where to.
        pictures: Portraits, `FACE_WIDTH` wide.
        numbers: Of each one, which keyframe of the clip it shows; `spread` chooses them.
        tick: Called after each picture.
        comment: The picture's.
    """
    columns = min(COLUMNS, len(numbers))
    rows = -(-len(numbers) // columns)
    sheet = Image.new(
        "RGB",
        (columns * (FACE_WIDTH + _GAP) + _GAP, rows * (_CELL_HEIGHT + _GAP) + _GAP),
        BACKGROUND,
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(15)
    for place, (number, picture) in enumerate(zip(numbers, pictures, strict=True)):
        row, column = divmod(place, columns)
        x, y = _GAP + column * (FACE_WIDTH + _GAP), _GAP + row * (_CELL_HEIGHT + _GAP)
        sheet.paste(picture, (x, y))
        draw.text(
            (x + FACE_WIDTH / 2, y + _FACE_HEIGHT + 8),
            f"{number / FRAMES_PER_SECOND:.2f} s",
            fill=_INK,
            font=font,
            anchor="ma",
        )
        tick()
    text = PngInfo()
    text.add_text("Comment", comment)
    sheet.save(file, "PNG", pnginfo=text)


def spread(count: int, at_most: int = COLUMNS * ROWS) -> list[int]:
    """Choose up to so many of the numbers below ``count``, from the first to the last."""
    if count <= at_most:
        return list(range(count))
    return [round(place * (count - 1) / (at_most - 1)) for place in range(at_most)]
