"""The look at audio before it is sent: what the service would misread is refused."""

from __future__ import annotations

from avatarpool.audio.containers import OGG, sniff
from avatarpool.exceptions import AudioError
from avatarpool.protocol.settings import AudioFormat


def check_audio(
    audio: bytes | bytearray | memoryview, audio_format: AudioFormat, *, is_first: bool
) -> None:
    """Check one piece of a request's audio; takes the same time for any length.

    An empty piece passes: it may carry a request's ``end``. That a request has
    audio at all is for the session to see.

    Args:
        audio: The piece, as the caller gave it.
        audio_format: What the bytes are meant to be: the session's format, or
            PCM where the session encodes it.
        is_first: Whether it is the first audio of its request, where an Ogg Opus
            stream must begin. PCM never begins like a file.

    Raises:
        AudioError: No bytes, half a sample, a piece of PCM that is a file's
            beginning, or no Ogg page where one must begin.
    """
    if isinstance(audio, memoryview):
        if audio.itemsize != 1 or not audio.c_contiguous:
            raise AudioError("audio is a memoryview of something else than bytes: use .cast('B')")
    elif not isinstance(audio, bytes | bytearray):
        raise AudioError(f"audio must be bytes, not {type(audio).__name__}")
    if audio_format is AudioFormat.OGG_OPUS:
        head = bytes(audio[:4]) if is_first else b""
        if not b"OggS".startswith(head):
            what = sniff(audio) or repr(head)
            raise AudioError(
                f"an ogg_opus request must begin with an Ogg page, not with {what}: "
                "read the file with avatarpool.audio.read_audio, or set ogg_opus_encoder "
                "to send PCM"
            )
        return
    found = sniff(audio)
    if found is not None:
        or_as_it_is = ", or set audio_format to 'ogg_opus'" if found is OGG else ""
        raise AudioError(
            f"raw PCM was expected and {found} came, which would be heard as noise: "
            f"read it with avatarpool.audio.read_audio{or_as_it_is}"
        )
    if len(audio) % 2:
        raise AudioError(
            f"{len(audio)} bytes are no whole number of 16-bit samples: cut audio at even offsets"
        )
