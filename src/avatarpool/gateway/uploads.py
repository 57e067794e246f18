"""Audio that is uploaded, to what a session takes: as it comes where its kind allows it. Pure.

The end of one that is read whole blocks for as long as decoding takes: it is for a thread.
"""

from __future__ import annotations

from collections import Counter

from avatarpool.audio import read_audio
from avatarpool.audio.arriving import Arriving, ArrivingOpus, ArrivingPcm, ArrivingWav
from avatarpool.audio.containers import OGG, WAV, sniff
from avatarpool.audio.opus import is_mono_opus
from avatarpool.audio.raw import is_raw
from avatarpool.exceptions import AudioError, ConfigurationError
from avatarpool.gateway import problems
from avatarpool.protocol.settings import DEFAULT_SAMPLE_RATE, AudioFormat

MAX_STREAMED_BYTES = 256 * 1024 * 1024
"""Of a body that goes up as it comes: a day's worth of patience, of which little is held."""

MAX_WHOLE_BYTES = 32 * 1024 * 1024
"""Of one that is read whole."""

_MAX_HELD_BYTES = 256 * 1024 * 1024  # of those, all together
_MOST_OF_ONE_CLIENT = 4  # a quarter of it

_FIRST_BYTES = 64  # tell all kinds, but for MP3 and AAC without a tag
_TELLING_BYTES = 16 * 1024  # tell those as well


class Held:
    """What uploads that are read whole hold, in all and of each client."""

    def __init__(self) -> None:
        self.total = 0
        self._of: Counter[str] = Counter()

    def take(self, client: str, size: int) -> None:
        """Hold so many bytes more.

        Raises:
            problems.Refused: That is too much.
        """
        most = _MAX_HELD_BYTES, _MAX_HELD_BYTES // _MOST_OF_ONE_CLIENT
        if self.total + size > most[0] or self._of[client] + size > most[1]:
            raise problems.refused(
                "busy", 503, "too much audio that must be read whole is under way, try later", 1.0
            )
        self.total += size
        self._of[client] += size

    def give_back(self, client: str, size: int) -> None:
        """Hold so many bytes less."""
        self.total -= size
        self._of[client] -= size
        if not self._of[client]:
            del self._of[client]


class Upload:
    """One body.

    Args:
        content_type: Its ``Content-Type``; empty for none.
        sample_rate: Of raw samples, where the content type says nothing of them; None: what
            is of no known kind is none.
        max_seconds: Of audio that may come of it.

    Attributes:
        held_bytes: What is kept because all of it is needed.
    """

    def __init__(self, content_type: str, sample_rate: int | None, max_seconds: float) -> None:
        if is_raw(content_type):
            self._raw_type = content_type
        else:
            self._raw_type = "" if sample_rate is None else f"audio/pcm;rate={sample_rate}"
        self._raw_rate = DEFAULT_SAMPLE_RATE if sample_rate is None else sample_rate
        self._content_type = content_type
        self._max_bytes = 2 * DEFAULT_SAMPLE_RATE * (int(max_seconds) + 1)
        self._arriving: Arriving | None = None  # if it goes up as it comes
        self._pieces: list[bytes] = []  # if not, or while that is not known
        self._has_kind = False
        self.held_bytes = 0
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<Upload {self._content_type!r} {self._bytes} bytes>"

    @property
    def audio_format(self) -> AudioFormat:
        """Of what is returned."""
        return AudioFormat.PCM_S16LE if self._arriving is None else self._arriving.audio_format

    @property
    def sample_rate(self) -> int:
        """Of what is returned, once there is something."""
        return DEFAULT_SAMPLE_RATE if self._arriving is None else self._arriving.sample_rate

    def feed(self, data: bytes) -> bytes:
        """Take a piece; return what goes up, perhaps nothing.

        Raises:
            problems.Refused: It is too large, or no audio that is read.
        """
        self._bytes += len(data)
        most = MAX_WHOLE_BYTES if self._arriving is None else MAX_STREAMED_BYTES
        if self._bytes > most:
            raise problems.refused("bodyTooLarge", 413, f"the body has over {most} bytes")
        if self._arriving is None:
            self._pieces.append(data)
            self.held_bytes += len(data)
            if self._has_kind or self._bytes < _FIRST_BYTES:
                return b""
            data = self._told(is_all=False)
        return self._read(data)

    def end(self) -> bytes:
        """Return the rest; blocks while it decodes what was read whole.

        Raises:
            problems.Refused: It is no audio that is read.
        """
        begin = b"" if self._has_kind else self._read(self._told(is_all=True))
        if self._arriving is None:
            return self._whole(b"".join(self._pieces))
        try:
            return begin + self._arriving.end()
        except AudioError as error:
            raise self._refused(error) from error

    def _told(self, *, is_all: bool) -> bytes:
        """Look what it is; return what has come, if that goes up as it comes."""
        data = b"".join(self._pieces)
        kind = sniff(data)
        try:
            if kind is WAV and data[:4] == b"RIFF":
                self._arriving = ArrivingWav()
            elif kind is OGG and is_mono_opus(data):
                self._arriving = ArrivingOpus()
            elif kind is None and self._raw_type and data:
                self._arriving = ArrivingPcm(self._raw_type, self._raw_rate)
        except AudioError as error:
            raise self._refused(error) from error
        self._has_kind = self._arriving is not None or kind is not None or is_all
        if self._arriving is None:
            if not self._has_kind and len(data) >= _TELLING_BYTES:
                self._whole(data)  # says what it is not, before more of it comes
            return b""
        self._pieces, self.held_bytes = [], 0
        return data

    def _whole(self, data: bytes) -> bytes:
        try:
            return read_audio(data, content_type=self._content_type, max_bytes=self._max_bytes)
        except (AudioError, ConfigurationError) as error:
            raise self._refused(error) from error

    def _read(self, data: bytes) -> bytes:
        try:
            return b"" if self._arriving is None else self._arriving.feed(data)
        except AudioError as error:
            raise self._refused(error) from error

    def _refused(self, error: AudioError | ConfigurationError) -> problems.Refused:
        data = b"".join(self._pieces)
        if isinstance(error, ConfigurationError):  # PyAV is missing
            return problems.refused("unsupportedMediaType", 415, str(error))
        is_known = self._arriving or self._raw_type or not data or sniff(data) is not None
        return problems.Refused(problems.of_upload(error, is_known=bool(is_known)))
