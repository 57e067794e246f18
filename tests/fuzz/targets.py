"""What is fuzzed: how its inputs are made, and what must hold whatever they are."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from random import Random
from unittest import mock

import av
import numpy as np
from mutation import cut, damaged

from avatarpool.audio import OpusEncoder, read, read_audio
from avatarpool.exceptions import AudioError, AvatarSDKError, AvatarSDKErrorCode
from avatarpool.protocol import messages
from avatarpool.protocol.codec import decode, encode
from avatarpool.protocol.keyframes import Keyframe, encode_keyframes
from avatarpool.protocol.reader import MessageReader
from avatarpool.protocol.settings import AgoraEgressConfig, AudioFormat, LiveKitEgressConfig
from avatarpool.service import ogg, opus
from avatarpool.service.decoding import AudioRefused
from avatarpool.service.generation import STEP_MS, Pipeline


@dataclass(frozen=True, slots=True)
class Target:
    """Something that takes strangers' bytes.

    Attributes:
        make: Makes one input, in the pieces in which it comes.
        run: Raises whatever is no documented error, and if a bound does not hold.
    """

    make: Callable[[Random], list[bytes]]
    run: Callable[[list[bytes]], None]


# --- messages ------------------------------------------------------------------------------


@cache
def _messages() -> list[bytes]:
    face = Keyframe(*[(0.1, 0.2, 0.3)] * 4, (0.1,) * 6, (0.0, 1.0), (0.5,) * 50)
    livekit = LiveKitEgressConfig(url="u", room_name="r", extra_attributes={"a": "b"})
    frames = [encode_keyframes([face] * count) for count in (0, 1, 3)]
    return [
        encode(message)
        for message in (
            messages.ConfigureSession(16000, AudioFormat.OGG_OPUS, 32000, extra_params={"k": "v"}),
            messages.ConfigureSession(8000, AudioFormat.PCM_S16LE, livekit_egress=livekit),
            messages.ConfigureSession(
                8000, AudioFormat.PCM_S16LE, agora_egress=AgoraEgressConfig("c", "t", 9, "p")
            ),
            messages.ConfirmSession("c-1", ("playback_control",)),
            messages.AudioInput("r-1", bytes(range(64)), True, "00-1", "a=b"),
            messages.Interrupt("r-1"),
            messages.Pause("r-1"),
            messages.Resume("r-1"),
            messages.ServerError(4001, "credits exhausted", "c-1", "r-1"),
            messages.PlaybackState("r-1", "interrupted", 1500, "barge-in", "c-1"),
            *(messages.AnimationFrame("r-1", False, frame, "c-1", "a") for frame in frames),
        )
    ]


def _make_messages(random: Random) -> list[bytes]:
    """Several to one reader; often alike, as that is when it remembers."""
    known = _messages()
    first = random.choice(known)
    made = []
    for _ in range(random.randint(1, 6)):
        message = first if random.random() < 0.6 else random.choice(known)
        made.append(damaged(message, known, random) if random.random() < 0.7 else message)
    return made


def _run_messages(pieces: list[bytes]) -> None:
    reader = MessageReader()
    for data in pieces:
        told = _told(decode, data)
        assert _told(reader.read, data) == told, "the reader tells something else"
        if isinstance(told, messages.AnimationFrame):
            _told(lambda _, frame=told: frame.keyframes, data)


def _told(read: Callable[[bytes], object], data: bytes) -> object:
    try:
        return read(data)
    except AvatarSDKError as error:
        assert error.code is AvatarSDKErrorCode.protocolError
        return str(error)


# --- Ogg Opus, as a session feeds it ---------------------------------------------------------


@cache
def _speech() -> bytes:
    return read_audio(str(files("avatarpool") / "assets" / "speech.wav"))[16000:32000]


@cache
def _clips() -> list[bytes]:
    return [
        OpusEncoder(rate, frame_duration_ms=frame_ms).encode(_speech(), end=True)
        for rate, frame_ms in ((16000, 20), (48000, 60), (8000, 10))
    ]


@cache
def _packets() -> list[bytes]:
    real = [
        packet
        for clip in _clips()
        for page in ogg.OggReader().feed(clip)[2:]
        for packet in page.packets
    ]
    # 120 ms of silence in two bytes, of frames of 2.5 and of 20 ms; and twice 63 frames.
    return [*real[::7], b"\x83\x30", b"\xfb\x06", b"\x0b\x06", b"\xf8", b"\x1b\x3f", b"\xfb\x3f"]


def _invented(random: Random) -> bytes:
    """A stream of sound pages that say whatever they like."""
    run_up = random.choice((0, 312, 65535, random.randrange(65536)))
    channels = random.choice((1, 1, 1, 2, 3, 255))
    family = 0 if channels < 3 else random.choice((0, 1, 255))
    mapping = bytes([channels, 0, *range(channels)]) if family else b""
    head = struct.pack("<8sBBHIhB", b"OpusHead", 1, channels, run_up, 16000, 0, family) + mapping
    stream = _page([head], 2, 0, 0) + _page([b"OpusTags" + bytes(8)], 0, 0, 1)
    last = random.randint(2, 5)
    for sequence in range(2, last + 1):
        count = random.choice((0, 1, 5, 60))
        some = [random.choice(_packets()) for _ in range(3)]
        if random.random() < 0.3:
            some.append(damaged(some[0], _packets(), random))
        granule = random.choice((0, 1, 960, 10**6, 2**63 - 1, -1, random.randrange(10**6)))
        flags = 4 if sequence == last or random.random() < 0.05 else 0
        stream += _page([random.choice(some) for _ in range(count)], flags, granule, sequence)
    return stream


def _page(packets: list[bytes], flags: int, granule: int, sequence: int) -> bytes:
    lacing = [size for packet in packets for size in _lacing(len(packet))][:255]
    head = struct.pack("<4sBBqIII", b"OggS", 0, flags, granule, 7, sequence, 0)
    return _mended(head + bytes([len(lacing), *lacing]) + b"".join(packets)[: sum(lacing)])


def _lacing(size: int) -> list[int]:
    return [255] * (size // 255) + [size % 255]


def _mended(stream: bytes) -> bytes:
    """Write the checksums anew, so that what is damaged is looked at."""
    out = bytearray(stream)
    at = out.find(b"OggS")
    while at >= 0 and len(out) - at > 26:
        size = 27 + out[at + 26] + sum(out[at + 27 : at + 27 + out[at + 26]])
        checksum = ogg._checksum(memoryview(out)[at : at + size])
        out[at + 22 : at + 26] = checksum.to_bytes(4, "little")
        at = out.find(b"OggS", at + size)
    return bytes(out)


def _ogg_file(random: Random) -> bytes:
    stream = _invented(random) if random.random() < 0.5 else random.choice(_clips())
    if random.random() < 0.7:
        stream = damaged(stream, [*_clips(), *_packets()], random)
    return _mended(stream) if random.random() < 0.8 else stream


def _make_opus(random: Random) -> list[bytes]:
    return cut(_ogg_file(random), random)


class _Still:
    """A driver that animates nothing."""

    def feed(self, _pcm: bytes) -> list[Keyframe]:
        return []

    finish = list


_PIECE_BYTES = 1024  # what one step is given
_MAX_SECONDS = 10.0
_PACKET_SAMPLES = 5760
_LATE_SAMPLES = 24  # that FFmpeg holds back while packets are of Opus's mode for voices
_STEP_SAMPLES = opus.SAMPLE_RATE * STEP_MS // 1000 + _PACKET_SAMPLES


def _run_opus(pieces: list[bytes]) -> None:
    samples = 0
    really_decode = opus._Codec.decode

    def count(codec: opus._Codec, packet: bytes) -> bytes:
        nonlocal samples
        said = opus.packet_samples(packet)
        samples += said
        pcm = really_decode(codec, packet)
        assert len(pcm) // 2 <= said + _LATE_SAMPLES, "a packet is longer than it says"
        return pcm

    decoder = opus.OpusDecoder()
    pipeline = Pipeline(decoder, _Still, _MAX_SECONDS)
    fed = [
        piece[at : at + _PIECE_BYTES]
        for piece in pieces
        for at in range(0, len(piece), _PIECE_BYTES)
    ] or [b""]
    with mock.patch.object(opus._Codec, "decode", count), suppress(AudioRefused):
        for number, piece in enumerate(fed, 1):
            data, is_hungry = piece, False
            while not is_hungry:
                before, seconds = samples, pipeline.seconds
                step = pipeline.step(data, end=number == len(fed))
                data, is_hungry = b"", step.is_hungry
                assert is_hungry or pipeline.seconds > seconds, "a step does nothing"
                assert samples - before < _STEP_SAMPLES, "a step is unbounded"
                assert samples == round(pipeline.seconds * opus.SAMPLE_RATE), "not all is charged"
                assert len(decoder._reader._buffer) < 2**16 + _PIECE_BYTES
        assert step.is_done
    assert samples < _MAX_SECONDS * opus.SAMPLE_RATE + _STEP_SAMPLES


# --- audio files -------------------------------------------------------------------------------

_MAX_AUDIO_BYTES = 1 << 20


def _wav_file(random: Random) -> bytes:
    kind, bits = random.choice(
        ((1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64), (6, 8), (7, 8), (0xFFFE, 16), (2, 4))
    )
    channels = random.choice((1, 1, 2, 6, 0, 255, 65535))
    rate = random.choice((16000, 8000, 44100, 48000, 4000, 384_000, 1, 0, 2**32 - 1, 11025))
    block = channels * bits // 8 % 65536
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * block % 2**32, block, bits)
    if kind == 0xFFFE:
        form += struct.pack("<HHIH", 22, 16, 4, random.choice((1, 3))) + bytes(14)
    audio = _speech()[: random.choice((0, 1, 24, 4096, 16000))]
    whole = len(audio) // max(1, block) * block if random.random() < 0.8 else len(audio)
    body = (
        b"WAVE" + _chunk(b"fmt ", form) + _chunk(b"LIST", b"odd") + _chunk(b"data", audio[:whole])
    )
    return _chunk(b"RIFF", body)


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


# FFmpeg's muxers and encoders of the other kinds of file.
_OTHERS = (
    ("mp3", "libmp3lame"),
    ("flac", "flac"),
    ("ipod", "aac"),
    ("ipod", "alac"),
    ("mp4", "aac"),
    ("adts", "aac"),
    ("webm", "libopus"),
    ("ogg", "flac"),
    ("aiff", "pcm_s24be"),
    ("w64", "pcm_f64le"),
)


@cache
def _others() -> list[bytes]:
    return [_encoded(muxer, encoder) for muxer, encoder in _OTHERS]


def _encoded(muxer: str, encoder: str) -> bytes:
    file = io.BytesIO()
    options = {"movflags": "frag_keyframe+empty_moov"} if muxer == "mp4" else {}
    with av.open(file, "w", format=muxer, options=options) as container:
        stream = container.add_stream(encoder, rate=48000, layout="mono")
        samples = np.frombuffer(_speech(), np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = 16000, Fraction(1, 16000), 0
        for part in (frame, None):
            container.mux(stream.encode(part))
    return file.getvalue()


def _make_file(random: Random) -> list[bytes]:
    kind = random.random()
    if kind < 0.3:
        return [_ogg_file(random)]
    file = _wav_file(random) if kind < 0.6 else random.choice(_others())
    return [damaged(file, [*_clips(), *_others()], random) if random.random() < 0.7 else file]


def _run_file(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    wanted = zlib.crc32(data)  # what for does not depend on anything else
    audio_format = AudioFormat.OGG_OPUS if wanted % 8 == 0 else AudioFormat.PCM_S16LE
    rate = (8000, 16000, 24000)[wanted // 8 % 3]
    with mock.patch.object(read, "MAX_AUDIO_BYTES", _MAX_AUDIO_BYTES):
        try:
            audio = read_audio(data, sample_rate=rate, audio_format=audio_format)
        except AudioError as error:
            assert "\n" not in str(error)
            assert len(str(error)) < 300, "not one sentence"
            return
    assert audio
    assert len(audio) <= _MAX_AUDIO_BYTES + 2 * rate, "longer than it may be"
    assert audio_format is AudioFormat.OGG_OPUS or len(audio) % 2 == 0


TARGETS = {
    "codec": Target(_make_messages, _run_messages),
    "opus": Target(_make_opus, _run_opus),
    "audio": Target(_make_file, _run_file),
}
