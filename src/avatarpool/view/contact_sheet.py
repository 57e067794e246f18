"""A clip's poses beside each other in one picture (the extra ``render``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import BinaryIO

from PIL import Image, ImageDraw, ImageFont

from avatarpool.protocol.keyframes import FRAMES_PER_SECOND, Keyframe
from avatarpool.view.face import pose_of
from avatarpool.view.portrait import BACKGROUND, HEIGHT, WIDTH, portrait

COLUMNS, ROWS = 6, 4

_FACE_WIDTH = WIDTH // 2
_FACE_HEIGHT = HEIGHT // 2
_CELL_HEIGHT = _FACE_HEIGHT + 30  # with the time below the face
_GAP = 16
_INK = "#39434f"


def write_contact_sheet(
    file: BinaryIO, keyframes: Iterable[Keyframe], count: int, tick: Callable[[], object]
) -> None:
    """Write a PNG of up to `COLUMNS` by `ROWS` faces, evenly spread over the clip.

    Args:
        file: Where to.
        keyframes: The clip's poses.
        count: How many those are.
        tick: Called after each of them.
    """
    shown = _spread(count, COLUMNS * ROWS)
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    sheet = Image.new(
        "RGB",
        (columns * (_FACE_WIDTH + _GAP) + _GAP, rows * (_CELL_HEIGHT + _GAP) + _GAP),
        BACKGROUND,
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(15)
    places = {number: place for place, number in enumerate(shown)}
    for number, keyframe in enumerate(keyframes):
        if number in places:
            row, column = divmod(places[number], columns)
            x, y = _GAP + column * (_FACE_WIDTH + _GAP), _GAP + row * (_CELL_HEIGHT + _GAP)
            sheet.paste(portrait(pose_of(keyframe), _FACE_WIDTH), (x, y))
            draw.text(
                (x + _FACE_WIDTH / 2, y + _FACE_HEIGHT + 8),
                f"{number / FRAMES_PER_SECOND:.2f} s",
                fill=_INK,
                font=font,
                anchor="ma",
            )
        tick()
    sheet.save(file, "PNG")


def _spread(count: int, at_most: int) -> list[int]:
    """Choose so many of the numbers below ``count``, from the first to the last."""
    if count <= at_most:
        return list(range(count))
    return [round(place * (count - 1) / (at_most - 1)) for place in range(at_most)]
