"""From an audio file to the bytes that ``send_audio()`` takes."""

from __future__ import annotations

import os
from pathlib import Path

from avatarpool.audio.check import check_audio
from avatarpool.audio.opus import OpusEncoder, decode_ogg_opus, is_mono_opus
from avatarpool.audio.wav import read_wav, to_pcm
from avatarpool.exceptions import AudioError
from avatarpool.protocol.settings import DEFAULT_SAMPLE_RATE, AudioFormat

# Of the file and of what comes out of it: 35 minutes of 16 kHz speech, and still
# little enough to hold in memory a few times over.
MAX_AUDIO_BYTES = 64 * 1024 * 1024


def read_audio(
    source: str | os.PathLike[str] | bytes,
    *,
    sample_rate: int = DEFAULT_SAMPLE_RATE,
    audio_format: AudioFormat = AudioFormat.PCM_S16LE,
) -> bytes:
    """Read speech and return what a session of this rate and format sends.

    WAV (8, 16, 24 or 32-bit PCM, 32-bit float; 4 to 384 kHz; channels are averaged)
    needs no extra package. Ogg Opus is decoded for a PCM session, and PCM encoded
    for an Ogg Opus one, with the extra ``opus``; a mono Ogg Opus file goes to an
    Ogg Opus session as it is. A file named ``.pcm`` or ``.raw`` is taken for raw
    s16le PCM at ``sample_rate``.

    It reads and converts at once and blocks while it does: call it before the
    event loop runs, or with ``asyncio.to_thread``.

    Args:
        source: A path, or the file's content.
        sample_rate: The session's rate.
        audio_format: The session's format.

    Raises:
        AudioError: Damaged, empty, of an unknown kind, or larger than
            `MAX_AUDIO_BYTES`.
        ConfigurationError: Opus at a rate it does not have, or without the extra.
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
    if audio_format is AudioFormat.OGG_OPUS and is_mono_opus(data):
        return data
    pcm = _read_pcm(data, sample_rate, path)
    if not pcm:
        raise AudioError("the file holds no audio: choose one that has some")
    if audio_format is AudioFormat.OGG_OPUS:
        # Not "voip": its high-pass filter is for calls and turns the phase of low voices.
        return OpusEncoder(sample_rate, application="audio").encode(pcm, end=True)
    return pcm


def _read_pcm(data: bytes, sample_rate: int, path: Path | None) -> bytes:
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        samples, rate = read_wav(data)
        if len(samples) * 2 * sample_rate > MAX_AUDIO_BYTES * rate:
            raise AudioError(
                f"the WAV file is longer than {MAX_AUDIO_BYTES} bytes at {sample_rate} Hz: "
                "cut it into pieces"
            )
        from avatarpool.audio.resample import resample  # noqa: PLC0415  # numpy, for few

        return to_pcm(resample(samples, rate, sample_rate))
    if data[:4] == b"OggS":
        return decode_ogg_opus(data, sample_rate, max_bytes=MAX_AUDIO_BYTES)
    if path is not None and path.suffix.lower() in (".pcm", ".raw"):
        check_audio(data, AudioFormat.PCM_S16LE, is_first=True)
        return data
    # Bytes have no name that could be changed.
    or_rename = "" if path is None else ", or name it .pcm if it is raw 16-bit mono PCM"
    raise AudioError(f"the audio is neither WAV nor Ogg Opus: convert it{or_rename}")
