"""Audio that comes in pieces, to what a session takes, as it comes: raw PCM, WAV, Ogg Opus.

Other kinds need all of a file: `read_audio` has them.
"""

from __future__ import annotations

from typing import Protocol

from avatarpool.audio.chunks import RIFF_STYLE, is_open_ended, walk
from avatarpool.audio.raw import half_a_sample, raw_layout
from avatarpool.audio.resample import Resampler
from avatarpool.audio.samples import to_mono, width_of
from avatarpool.audio.wav import read_format
from avatarpool.exceptions import AudioError
from avatarpool.protocol.settings import DEFAULT_SAMPLE_RATE, PCM_SAMPLE_RATES, AudioFormat

_PIECES_PER_SECOND = 50  # of what is returned, at the most: who sends bytes one by one costs more
_MAX_WAV_HEAD_BYTES = 256 * 1024


class Arriving(Protocol):
    """Audio on its way.

    Attributes:
        audio_format: Of what is returned.
        sample_rate: Of what is returned; 0 while it is not known.
    """

    audio_format: AudioFormat
    sample_rate: int

    def feed(self, data: bytes) -> bytes:
        """Take the next piece; return what a session takes, perhaps nothing.

        Raises:
            AudioError: It is not what it should be.
        """

    def end(self) -> bytes:
        """Return the rest.

        Raises:
            AudioError: It ends before its end.
        """


class _Samples:
    """Samples of one kind, to mono s16le at a rate that sessions have."""

    def __init__(self, encoding: str, channels: int, rate: int) -> None:
        self.moment_bytes = channels * width_of(encoding)
        self.sample_rate = rate if rate in PCM_SAMPLE_RATES else DEFAULT_SAMPLE_RATE
        self._layout = encoding, channels
        self._resampler = None if rate == self.sample_rate else Resampler(rate, self.sample_rate)
        self._least_bytes = 2 * self.sample_rate // _PIECES_PER_SECOND
        self._rest = b""  # a part of one moment's samples
        self._ready = b""

    @property
    def rest_bytes(self) -> int:
        """What has come of a moment that is not whole."""
        return len(self._rest)

    def feed(self, data: bytes) -> bytes:
        data = self._rest + data
        whole = len(data) - len(data) % self.moment_bytes
        self._rest = data[whole:]
        samples = to_mono(memoryview(data)[:whole], *self._layout)
        if self._resampler is not None:
            samples = self._resampler.feed(samples)
        self._ready += samples.astype("<i2", copy=False).tobytes()
        return self._take() if len(self._ready) >= self._least_bytes else b""

    def end(self) -> bytes:
        if self._resampler is not None:
            self._ready += self._resampler.end().astype("<i2", copy=False).tobytes()
        return self._take()

    def _take(self) -> bytes:
        taken, self._ready = self._ready, b""
        return taken


class ArrivingPcm:
    """Raw samples.

    Args:
        content_type: What they are, as of `raw.raw_layout`.
        sample_rate: The rate where it names none.

    Raises:
        AudioError: There can be no such samples.
    """

    audio_format = AudioFormat.PCM_S16LE

    def __init__(self, content_type: str, sample_rate: int = DEFAULT_SAMPLE_RATE) -> None:
        encoding, self._channels, rate = raw_layout(content_type, sample_rate)
        self._samples = _Samples(encoding, self._channels, rate)
        self.sample_rate = self._samples.sample_rate
        self._bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Take a piece; as of `Arriving`."""
        self._bytes += len(data)
        return self._samples.feed(data)

    def end(self) -> bytes:
        """Return the rest; as of `Arriving`."""
        if self._samples.rest_bytes:
            raise half_a_sample(self._bytes, self._channels)
        return self._samples.end()


class ArrivingWav:
    """A WAV file (RIFF), of any encoding that `read_wav` knows; its format before its audio."""

    audio_format = AudioFormat.PCM_S16LE

    def __init__(self) -> None:
        self.sample_rate = 0
        self._head = bytearray()
        self._samples: _Samples | None = None  # once the head is whole
        self._announced: int | None = None  # bytes of audio; None: all that comes
        self._left = 0  # of these

    def feed(self, data: bytes) -> bytes:
        """Take a piece; as of `Arriving`."""
        if self._samples is None:
            self._head += data
            begin = self._read_head()
            if self._samples is None:
                return b""
            data = bytes(self._head[begin:])
            self._head = bytearray()
        if self._announced is not None:
            data = data[: self._left]  # what follows is no audio
            self._left -= len(data)
        return self._samples.feed(data)

    def end(self) -> bytes:
        """Return the rest; as of `Arriving`."""
        if self._samples is None:
            raise AudioError("the WAV file ends before its audio: export it again")
        if self._announced is not None and self._left:
            raise AudioError(
                f"the WAV file is cut short: it announces {self._announced} bytes of audio and "
                f"has {self._announced - self._left}; copy or download it again"
            )
        return self._samples.end()

    def _read_head(self) -> int:
        """Read what has come of it, if the audio's beginning has; return where that is."""
        data, form = bytes(self._head), None
        for name, at, size in walk(data, RIFF_STYLE):
            if name == b"fmt " and at + min(size, 40) <= len(data):
                form = read_format(data[at : at + min(size, 40)])
            elif name == b"data":
                if form is None:
                    raise AudioError("the WAV file's audio is before its format: export it again")
                self._samples = _Samples(form.encoding, form.channels, form.sample_rate)
                self.sample_rate = self._samples.sample_rate
                end = int.from_bytes(data[4:8], "little") + 8
                self._announced = None if is_open_ended(at, size, end=end) else size
                self._left = size
                if self._announced is not None and size % form.block_bytes:
                    raise AudioError(
                        f"the WAV file ends inside a sample ({size} bytes of {form.block_bytes} "
                        "each): copy or download it again"
                    )
                return at
        if len(data) > _MAX_WAV_HEAD_BYTES:
            raise AudioError(
                f"the WAV file has no audio in its first {_MAX_WAV_HEAD_BYTES} bytes: export it "
                "again without pictures and notes"
            )
        return 0


class ArrivingOpus:
    """A mono Ogg Opus stream, which sessions take as it is."""

    audio_format = AudioFormat.OGG_OPUS
    sample_rate = DEFAULT_SAMPLE_RATE

    def feed(self, data: bytes) -> bytes:
        """Take a piece; as of `Arriving`."""
        return data

    def end(self) -> bytes:
        """Return the rest; as of `Arriving`."""
        return b""
