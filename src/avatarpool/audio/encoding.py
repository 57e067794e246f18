"""The audio of a session's requests, encoded where its configuration asks for that."""

from __future__ import annotations

from avatarpool.audio.opus import OpusEncoder
from avatarpool.config import SessionConfig
from avatarpool.protocol.settings import AudioFormat


class RequestEncoder:
    """Turns what the user sends into what goes over the wire, one request at a time.

    Audio that is in the wire's format already passes through.

    Args:
        config: The session's.
    """

    __slots__ = ("_config", "_encoded", "_encoder", "portion_bytes", "takes")

    def __init__(self, config: SessionConfig) -> None:
        self._config = config
        self._encoder: OpusEncoder | None = None  # of the current request
        self._encoded = bytearray()  # its output, where the user asked for it
        is_encoding = config.ogg_opus_encoder is not None
        # The format of what the user sends.
        self.takes = AudioFormat.PCM_S16LE if is_encoding else AudioFormat(config.audio_format)
        # How much to encode at once, half a second of speech; 0: nothing is encoded.
        self.portion_bytes = config.sample_rate if is_encoding else 0

    def encode(self, audio: bytes | memoryview, *, end: bool, is_first: bool) -> bytes | memoryview:
        """Encode a piece; raise `ConfigurationError` for settings that Opus does not know."""
        settings = self._config.ogg_opus_encoder
        if settings is None:
            return audio
        if is_first or self._encoder is None:
            self.forget()
            self._encoder = OpusEncoder(
                self._config.sample_rate,
                self._config.bitrate,
                settings.frame_duration_ms,
                settings.application,
            )
        if not (audio or self._encoder.is_open):
            return b""  # a send of the end was cancelled, and the end alone is sent again
        encoded = self._encoder.encode(bytes(audio), end=end)
        if self._config.on_encoded_audio is not None:
            self._encoded += encoded
        return encoded

    def finish(self) -> bytes | None:
        """End the request; return all of its encoded audio, None where nothing was encoded."""
        encoded = bytes(self._encoded) if self._encoder is not None else None
        self.forget()
        return encoded

    def forget(self) -> None:
        """Drop the request: it is over before its end."""
        self._encoder = None
        self._encoded = bytearray()
