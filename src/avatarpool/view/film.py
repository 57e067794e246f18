"""A clip's face as a film: MP4 with the sound, or GIF (the extra ``render``)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, BinaryIO

import av
import numpy as np
from PIL import Image

from avatarpool.protocol.keyframes import FRAMES_PER_SECOND
from avatarpool.view.face import Pose
from avatarpool.view.portrait import HEIGHT, WIDTH, portrait

_VideoFrame: Any = av.VideoFrame  # the stubs lack Pillow and palettes

# Between them they show every colour of the face: lids, teeth and tongue too.
_PALETTE_POSES: tuple[Pose, ...] = ({"jaw": 0.9}, {"jaw": 0.5, "lidLeft": 1.0, "lidRight": 1.0})


def write_mp4(
    file: BinaryIO,
    pictures: Iterable[Image.Image],
    pcm: bytes,
    sample_rate: int,
    tick: Callable[[], object],
    *,
    comment: str = "",
) -> None:
    """Write H.264 and AAC, 25 pictures a second.

    Args:
        file: Where to; must be seekable.
        pictures: The clip's portraits; they are taken and encoded one by one.
        pcm: Its sound, mono s16le.
        sample_rate: Of the sound.
        tick: Called after each picture.
        comment: The film's, behind its pictures.
    """
    with _film(file, "mp4") as container:
        container.metadata["comment"] = comment
        video = _video(container, "libx264", "yuv420p", {"crf": "18", "preset": "veryfast"})
        audio = container.add_stream("aac", rate=sample_rate, layout="mono")
        sound = _Sound(pcm, sample_rate)
        for picture in pictures:
            container.mux(video.encode(_VideoFrame.from_image(picture)))
            for frame in sound.take(sample_rate // FRAMES_PER_SECOND):
                container.mux(audio.encode(frame))
            tick()
        for frame in sound.take(len(pcm)):  # what is behind the last picture
            container.mux(audio.encode(frame))
        for stream in (video, audio):
            container.mux(stream.encode(None))


def write_gif(
    file: BinaryIO,
    pictures: Iterable[Image.Image],
    tick: Callable[[], object],
    *,
    comment: str = "",
) -> None:
    """Write a GIF that repeats, 25 pictures a second in 256 colours, without sound.

    Args:
        file: Where to; must be seekable.
        pictures: The clip's portraits; they are taken and encoded one by one.
        tick: Called after each picture.
        comment: Up to 255 characters of ASCII, behind the pictures.
    """
    colours = _palette()
    # One palette for all pictures: nothing flickers, and none has to be kept.
    table = np.full((256, 4), 255, np.uint8)  # alpha, red, green, blue
    table[:, 1:] = np.resize(np.array(colours.getpalette(), np.uint8), (256, 3))
    with _film(file, "gif") as container:
        video = _video(container, "gif", "pal8", {})
        for picture in pictures:
            indices = picture.quantize(palette=colours, dither=Image.Dither.NONE)
            frame = _VideoFrame.from_ndarray((np.asarray(indices), table), format="pal8")
            container.mux(video.encode(frame))
            tick()
        container.mux(video.encode(None))
    if comment:  # in place of the byte that ends a GIF: a comment, and that byte
        file.seek(-1, os.SEEK_END)
        file.write(b"\x21\xfe" + bytes((len(comment),)) + comment.encode("ascii") + b"\x00;")


@contextmanager
def _film(file: BinaryIO, kind: str) -> Iterator[Any]:
    try:
        with av.open(file, "w", format=kind) as container:
            yield container
    except av.FFmpegError as error:
        # What the file's own write raised, as on a full disk, says more than what PyAV makes of it.
        raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def _video(container: Any, codec: str, pixels: str, options: dict[str, str]) -> Any:
    stream = container.add_stream(codec, rate=FRAMES_PER_SECOND, options=options)
    stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
    return stream


def _palette() -> Image.Image:
    both = Image.new("RGB", (WIDTH, HEIGHT * len(_PALETTE_POSES)))
    for place, pose in enumerate(_PALETTE_POSES):
        both.paste(portrait(pose), (0, place * HEIGHT))
    return both.quantize(256, kmeans=1)


class _Sound:
    """A clip's samples, piece by piece."""

    def __init__(self, pcm: bytes, sample_rate: int) -> None:
        self._samples = np.frombuffer(pcm, "<i2").astype(np.int16)
        self._rate = sample_rate
        self._taken = 0

    def take(self, count: int) -> list[Any]:
        """Return a frame of the next samples, or none after the end."""
        piece = self._samples[self._taken : self._taken + count]
        if not piece.size:
            return []
        frame = av.AudioFrame.from_ndarray(piece.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = self._rate
        frame.time_base = Fraction(1, self._rate)
        frame.pts = self._taken
        self._taken += piece.size
        return [frame]
