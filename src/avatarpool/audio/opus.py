"""PCM to Ogg Opus, by PyAV (the extra ``audio``)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from avatarpool.audio.pyav import import_av
from avatarpool.config import unfit_for_opus
from avatarpool.exceptions import AudioError, ConfigurationError, SessionStateError
from avatarpool.protocol.settings import OPUS_SAMPLE_RATES

_APPLICATIONS = {"restricted_lowdelay": "lowdelay"}  # those that FFmpeg calls otherwise

# An Ogg page costs 28 bytes and is the smallest piece that can be sent: the
# library's own second would hold the audio back for as long.
_PAGE_DURATION_MS = 60


class OpusEncoder:
    """Encodes one request's mono PCM to one Ogg Opus stream, piece by piece.

    About 10 ms of CPU for a second of speech; one encoder serves one stream.

    Args:
        sample_rate: Rate of the PCM, one of `OPUS_SAMPLE_RATES`.
        bitrate: Bits per second; 0 lets the encoder choose (about 64,000).
        frame_duration_ms: Length of an Opus frame: 10, 20, 40 or 60 ms.
        application: ``voip``, ``audio`` or ``restricted_lowdelay``.

    Raises:
        ConfigurationError: A value that Opus does not know, or PyAV is missing.
    """

    def __init__(
        self,
        sample_rate: int,
        bitrate: int = 0,
        frame_duration_ms: int = 20,
        application: str = "voip",
    ) -> None:
        problems = []
        if sample_rate not in OPUS_SAMPLE_RATES:
            rates = ", ".join(map(str, OPUS_SAMPLE_RATES))
            problems.append(f"sample_rate {sample_rate} is none of {rates}")
        problems += unfit_for_opus(frame_duration_ms, application)
        if problems:
            raise ConfigurationError("opus encoder cannot work", problems)
        self._av = import_av("Ogg Opus cannot be written")
        self._rate = sample_rate
        self._samples = 0  # taken so far
        self.is_open = True
        self._pages = _Pages()
        self._container = self._av.open(
            self._pages,
            "w",
            format="ogg",
            options={"page_duration": str(_PAGE_DURATION_MS * 1000), "flush_packets": "1"},
        )
        self._stream = self._container.add_stream(
            "libopus",
            rate=sample_rate,
            options={
                "application": _APPLICATIONS.get(application, application),
                "frame_duration": str(frame_duration_ms),
            },
        )
        self._stream.layout = "mono"
        self._stream.format = "s16"
        if bitrate:
            self._stream.bit_rate = bitrate

    def __repr__(self) -> str:
        state = "open" if self.is_open else "ended"
        return f"<OpusEncoder {self._rate} Hz, {self._samples} samples, {state}>"

    def encode(self, pcm: bytes, *, end: bool) -> bytes:
        """Take some PCM and return the Ogg pages that are ready, perhaps none.

        The first PCM gives the header's pages, however short it is: a request
        begins with what is sent of it.
        At most 60 ms of audio and one Opus frame are held back until more
        comes; ``end`` returns the rest and ends the stream.

        Raises:
            AudioError: ``pcm`` holds half a sample.
            SessionStateError: The stream has ended.
        """
        if not self.is_open:
            raise SessionStateError(f"{self!r} takes no more audio: make one per request")
        if len(pcm) % 2:
            raise AudioError(f"{len(pcm)} bytes are no whole number of 16-bit samples")
        if pcm:
            if not self._samples:  # or else the header waits for a whole frame
                self._container.start_encoding()
            self._mux(self._frame(pcm))
        if end:
            self.is_open = False
            if self._samples:
                self._mux(None)
            self._container.close()
        return self._pages.take()

    def _frame(self, pcm: bytes) -> Any:
        frame = self._av.AudioFrame("s16", "mono", len(pcm) // 2)
        plane = frame.planes[0]
        plane.update(bytes(pcm).ljust(plane.buffer_size, b"\0"))
        frame.sample_rate = self._rate
        frame.time_base = Fraction(1, self._rate)
        frame.pts = self._samples
        self._samples += frame.samples
        return frame

    def _mux(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            self._container.mux(packet)


class _Pages:
    """The file that PyAV writes to: pages wait here to be taken."""

    def __init__(self) -> None:
        self._pages = bytearray()

    def write(self, data: bytes) -> int:
        self._pages += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._pages)
        self._pages.clear()
        return taken


def is_mono_opus(data: bytes) -> bool:
    """Whether an Ogg file is the one kind a session takes as it is: mono Opus."""
    # The first page holds the identification header and nothing else: 27 bytes
    # and one segment length, then "OpusHead", a version and the channel count.
    return data[:4] == b"OggS" and data[28:36] == b"OpusHead" and data[37:38] == b"\x01"
