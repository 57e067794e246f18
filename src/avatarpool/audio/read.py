"""From an audio file to the bytes that ``send_audio()`` takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from avatarpool.audio.containers import AIFF, CONTAINERS, MP3, Container, sniff, tag_bytes
from avatarpool.audio.opus import OpusEncoder, is_mono_opus
from avatarpool.exceptions import AudioError
from avatarpool.protocol.settings import DEFAULT_SAMPLE_RATE, AudioFormat

if TYPE_CHECKING:
    from avatarpool.audio.samples import Samples

# Of the file and of what comes out of it: 35 minutes of 16 kHz speech, and still
# little enough to hold in memory a few times over.
MAX_AUDIO_BYTES = 64 * 1024 * 1024

RAW_SUFFIXES = (".pcm", ".raw")
RAW_TYPE = "audio/pcm"
AUDIO_SUFFIXES = frozenset(
    (*RAW_SUFFIXES, *(suffix for container in CONTAINERS for suffix in container.suffixes))
)
"""What the names of files that `read_audio` takes end with, in lower case."""


def read_audio(
    source: str | os.PathLike[str] | bytes,
    *,
    sample_rate: int = DEFAULT_SAMPLE_RATE,
    audio_format: AudioFormat = AudioFormat.PCM_S16LE,
    content_type: str | None = None,
    max_bytes: int | None = None,
) -> bytes:
    """Read speech and return what a session of this rate and format sends.

    WAV, RF64, Wave64 and AIFF (8, 16, 24 or 32-bit PCM, 32 or 64-bit float, A-law,
    mu-law; 4 to 384 kHz; channels are averaged) need no extra package. With the
    extra ``audio``, MP3, FLAC, M4A (AAC, ALAC), AAC, WebM and Ogg (Opus, Vorbis,
    FLAC) are decoded, and PCM is encoded for an Ogg Opus session; a mono Ogg Opus
    file goes to an Ogg Opus session as it is. What a file is, its bytes tell; one of
    no known kind that is named ``.pcm`` or ``.raw`` is taken for raw s16le PCM at
    ``sample_rate``, and one whose content type says so for what that says.

    It reads and converts at once and blocks while it does: call it before the
    event loop runs, or with ``asyncio.to_thread``.

    Args:
        source: A path, or the file's content.
        sample_rate: The session's rate.
        audio_format: The session's format.
        content_type: What HTTP says of an upload, such as ``audio/pcm;rate=24000``;
            ``audio/L16`` is big-endian. ``rate`` left out is ``sample_rate``,
            ``channels`` 1. Anything else says nothing that the bytes do not.
        max_bytes: Of PCM that may come of it; left out, `MAX_AUDIO_BYTES`.

    Raises:
        AudioError: Damaged, empty, of an unknown kind, larger than `MAX_AUDIO_BYTES`,
            or longer than ``max_bytes``.
        ConfigurationError: Opus at a rate it does not have, or the extra is missing.
        OSError: The file cannot be read.
    """
    audio_format = AudioFormat(audio_format)
    path = None
    if isinstance(source, bytes):
        data = source
    else:
        path = Path(source)
        with path.open("rb") as file:
            data = file.read(MAX_AUDIO_BYTES + 1)
    if len(data) > MAX_AUDIO_BYTES:
        raise AudioError(f"the audio is larger than {MAX_AUDIO_BYTES} bytes: cut it into pieces")
    if not data:
        raise AudioError(f"{_named(path)} is empty: choose a file with speech in it")
    if audio_format is AudioFormat.OGG_OPUS and is_mono_opus(data):
        return data
    pcm = _read_pcm(data, sample_rate, path, content_type, max_bytes or MAX_AUDIO_BYTES)
    if audio_format is AudioFormat.OGG_OPUS:
        # Not "voip": its high-pass filter is for calls and turns the phase of low voices.
        return OpusEncoder(sample_rate, application="audio").encode(pcm, end=True)
    return pcm


def _read_pcm(
    data: bytes, sample_rate: int, path: Path | None, content_type: str | None, max_bytes: int
) -> bytes:
    tags = tag_bytes(data)
    # Any kind may have such tags in front; without a look beyond them it is MP3.
    container = sniff(memoryview(data)[tags:]) or (MP3 if tags else None)
    if container is not None:
        pcm = _decoded(data, container, sample_rate, max_bytes)
        if not pcm:
            raise AudioError(f"{_named(path)} holds no audio: choose one with speech in it")
        return pcm
    if path is not None and path.suffix.lower() in RAW_SUFFIXES:
        content_type = RAW_TYPE
    if content_type is not None:
        # What only few need, numpy above all, is loaded when it is needed.
        from avatarpool.audio.raw import is_raw, read_raw  # noqa: PLC0415

        if is_raw(content_type):
            samples, rate = read_raw(data, content_type, sample_rate)
            return _resampled(samples, rate, sample_rate, "raw PCM", max_bytes)
    or_else = ""  # bytes alone have no name that could be changed
    if path is not None:
        or_else = ", or name it .pcm if it is raw 16-bit mono PCM"
    elif content_type is not None:
        or_else = f", or send Content-Type: {RAW_TYPE};rate={sample_rate} if it is raw 16-bit PCM"
    *names, last = (container.name for container in CONTAINERS)
    raise AudioError(f"the audio is neither {', '.join(names)} nor {last}: convert it{or_else}")


def _decoded(data: bytes, container: Container, sample_rate: int, max_bytes: int) -> bytes:
    if container.demuxer is not None:
        from avatarpool.audio.decoding import decode  # noqa: PLC0415

        return decode(data, container, sample_rate, max_bytes=max_bytes)
    from avatarpool.audio.aiff import read_aiff  # noqa: PLC0415
    from avatarpool.audio.wav import read_wav  # noqa: PLC0415

    read = read_aiff if container is AIFF else read_wav
    return _resampled(*read(data), sample_rate, f"{container.name} file", max_bytes)


def _resampled(samples: Samples, rate: int, sample_rate: int, what: str, max_bytes: int) -> bytes:
    from avatarpool.audio.resample import resample  # noqa: PLC0415

    if len(samples) * 2 * sample_rate > max_bytes * rate:
        raise AudioError(
            f"the {what} is longer than {max_bytes} bytes at {sample_rate} Hz: cut it into pieces"
        )
    return resample(samples, rate, sample_rate).astype("<i2", copy=False).tobytes()


def _named(path: Path | None) -> str:
    return "the file" if path is None else f"the file {path.name!r}"
