"""Files that need a decoder, to 16-bit mono PCM, by PyAV (the extra ``audio``).

FFmpeg reads a hundred kinds of file, some of which name others. It is told which
one a file is, and may use the decoders below alone.
"""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import numpy as np

from avatarpool.audio.containers import AAC, MP3, MP4, Container, aac_bytes, tag_bytes
from avatarpool.audio.mp4 import check_mp4
from avatarpool.audio.pyav import import_av
from avatarpool.audio.samples import is_rate
from avatarpool.exceptions import AudioError

_CODECS = ("aac", "alac", "flac", "libopus", "mp3", "mp3float", "opus", "vorbis")
_MAX_FRAME_SAMPLES = 8 * 65536  # of all channels: what FLAC may have

# What a packet costs at least, in seconds of sound: there could be millions of no sound.
_PACKET_SECONDS = 0.001
_CHANGE_SECONDS = 1.0  # and a change of the rate or the channels amid
_GRACE_SECONDS = 0.1  # for what rounding makes of a sum, and a packet that ends each stream


def decode(data: bytes, container: Container, sample_rate: int, *, max_bytes: int) -> bytes:
    """Decode a file's first sound track to mono PCM at ``sample_rate``.

    Args:
        data: The file.
        container: What it is; one with a demuxer.
        sample_rate: Of the PCM.
        max_bytes: How much PCM it may be, what the file says to drop included.

    Raises:
        AudioError: It is damaged, of a codec that is not read, or longer.
        ConfigurationError: PyAV is missing.
    """
    av = import_av(f"this is {container}")
    data = data[tag_bytes(data) :]  # compressed pictures in there are unpacked to any size
    if container is AAC:
        data = data[: aac_bytes(data)]  # or tags would be looked for between the frames
    elif container is MP4:
        check_mp4(data, int(max_bytes / (2 * sample_rate * _PACKET_SECONDS)))
    options = {
        "codec_whitelist": ",".join(_CODECS),
        "max_samples": str(_MAX_FRAME_SAMPLES),
        "max_streams": "64",
    }
    try:
        with av.open(
            io.BytesIO(data),
            format=container.demuxer,
            options=options,
            metadata_errors="replace",
        ) as file:
            return _Decoding(av, file, container, sample_rate).pcm(
                max_bytes, max_packet_bytes=4 * len(data) + 65536
            )
    except (av.FFmpegError, ValueError, OverflowError) as error:
        if isinstance(error, AudioError):
            raise
        why = getattr(error, "strerror", None) or error
        raise AudioError(
            f"the {container.name} file cannot be decoded ({why}): export it again"
        ) from error


class _Decoding:
    """A file that is open, on its way to PCM."""

    def __init__(self, av: Any, file: Any, container: Container, sample_rate: int) -> None:
        self._av = av
        self._file = file
        self._container = container
        self._name = container.name
        self._rate = sample_rate
        self._resampler: Any = None
        self._shape: object = None  # of the frames that the resampler takes
        self._skip = 0  # samples that are still to be dropped

    def pcm(self, max_bytes: int, max_packet_bytes: int) -> bytes:
        """Decode it all.

        Args:
            max_bytes: How much PCM it may be.
            max_packet_bytes: How much its packets may be all in all. More than
                the file has is no honest one.
        """
        stream = self._stream()
        pcm = bytearray()
        seconds = max_bytes / (2 * self._rate) + _GRACE_SECONDS
        for packet in self._file.demux():
            max_packet_bytes -= packet.size
            frames = self._frames(packet) if packet.stream.index == stream.index else []
            # All that is decoded, and not what is left of it.
            seconds -= max(_PACKET_SECONDS, sum(map(_seconds, frames)))
            for frame in frames:
                seconds -= _CHANGE_SECONDS * self._has_changed(frame)
                if seconds < 0 or max_packet_bytes < 0:
                    break
                kept = self._kept(frame, is_dropped=packet.is_discard)
                if kept is not None:
                    pcm += self._resampled(kept)
            if seconds < 0 or max_packet_bytes < 0:
                raise AudioError(
                    f"the {self._name} file is longer than {max_bytes} bytes of PCM: "
                    "cut it into pieces"
                )
        return bytes(pcm + self._resampled(None))

    def _stream(self) -> Any:
        streams = self._file.streams.audio
        if not streams:
            raise AudioError(f"the {self._name} file holds no audio: choose one that has some")
        codec = streams[0].codec_context
        name = "unknown" if codec is None else codec.name
        if name not in _CODECS:
            raise AudioError(f"the {self._name} file's codec ({name}) is not read: convert it")
        codec.options = {"max_samples": str(_MAX_FRAME_SAMPLES)}
        # Or the decoder would drop what a file says to drop, and we would not see how much it was.
        codec.flags2 |= self._av.codec.context.Flags2.skip_manual
        return streams[0]

    def _frames(self, packet: Any) -> list[Any]:
        try:
            frames: list[Any] = packet.decode()
        except self._av.error.InvalidDataError:
            if self._container is not MP3:
                raise
            # Between its frames may be anything, tags amid joined files for instance.
            return []
        return frames

    def _has_changed(self, frame: Any) -> bool:
        return self._shape is not None and self._shape != _shape(frame)

    def _kept(self, frame: Any, *, is_dropped: bool) -> Any:
        """What is to be heard of a frame: not an encoder's run-up, nor what fills the last one."""
        first, last = 0, 0
        for note in frame.side_data:
            if note.type.name == "SKIP_SAMPLES":
                told = bytes(note)
                first, last = (int.from_bytes(told[at : at + 4], "little") for at in (0, 4))
        begin = min(first or self._skip, frame.samples)
        self._skip = (first or self._skip) - begin
        end = begin if is_dropped else max(begin, frame.samples - last)
        if begin == end:
            return None
        if end - begin == frame.samples:
            kept = frame
        else:
            samples = frame.to_ndarray()
            each = 1 if frame.format.is_planar else frame.layout.nb_channels
            kept = self._av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[:, begin * each : end * each]),
                format=frame.format.name,
                layout=frame.layout.name,
            )
            kept.sample_rate = frame.sample_rate
        kept.time_base, kept.pts = Fraction(1, frame.sample_rate), None
        return kept

    def _resampled(self, frame: Any) -> bytes:
        """The PCM of a frame; of None, what is left."""
        pcm = b""
        if frame is not None and self._shape != _shape(frame):
            pcm = self._resampled(None)
            if not is_rate(frame.sample_rate):
                raise AudioError(
                    f"the {self._name} file is of {frame.sample_rate} Hz: export it again"
                )
            self._shape = _shape(frame)
            self._resampler = self._av.AudioResampler(format="s16", layout="mono", rate=self._rate)
        if self._resampler is not None:
            parts = self._resampler.resample(frame)
            pcm += b"".join(part.to_ndarray().astype("<i2").tobytes() for part in parts)
        return pcm


def _shape(frame: Any) -> object:
    return frame.sample_rate, frame.format.name, frame.layout.name


def _seconds(frame: Any) -> float:
    """What a frame costs: of more than two channels, each pair."""
    pairs = -(-frame.layout.nb_channels // 2)
    return float(frame.samples * pairs / max(1, frame.sample_rate))
