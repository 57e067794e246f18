"""Audio in pieces is what it is whole."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest

from avatarpool.audio import read_audio
from avatarpool.audio.arriving import ArrivingOpus, ArrivingPcm, ArrivingWav
from avatarpool.audio.resample import Resampler, resample
from avatarpool.exceptions import AudioError


def wav(
    samples: bytes, rate: int = 16000, channels: int = 1, bits: int = 16, size: int | None = None
):
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * block, block, bits)
    size = len(samples) if size is None else size
    chunks = b"fmt " + struct.pack("<I", 16) + form + b"LIST\x03\0\0\0abc\0"
    chunks += b"data" + struct.pack("<I", size) + samples
    length = 0xFFFFFFFF if size == 0xFFFFFFFF else len(chunks) + 4
    return b"RIFF" + struct.pack("<I", length) + b"WAVE" + chunks


def fed(arriving, data: bytes, seed: int = 0, most: int = 3000) -> bytes:
    """What comes of it in pieces of any sizes."""
    dice, out, at = random.Random(seed), [], 0
    while at < len(data):
        step = dice.randint(1, most)
        out.append(arriving.feed(data[at : at + step]))
        at += step
    return b"".join([*out, arriving.end()])


def alike(ours, others) -> bool:
    """Sums of floats differ by their order, and once in ten thousand that shows."""
    return len(ours) == len(others) and abs(ours.astype(int) - others).max(initial=0) <= 1


NOISE = np.random.default_rng(1).integers(-20000, 20000, 40_000, np.int16)


@pytest.mark.parametrize("to_rate", [16000, 48000])
@pytest.mark.parametrize("rate", [4000, 8000, 11025, 12000, 44100, 44101, 96000, 192_000])
def test_resampled_in_pieces_it_is_the_same_but_for_rounding(rate, to_rate):
    resampler, dice, at, out = Resampler(rate, to_rate), random.Random(rate), 0, []
    while at < len(NOISE):
        step = dice.randint(1, 5000)
        out.append(resampler.feed(NOISE[at : at + step]))
        at += step
    pieces = np.concatenate([*out, resampler.end()])
    assert alike(pieces, resample(NOISE, rate, to_rate))


def test_resampling_nothing_gives_nothing():
    assert len(Resampler(11025, 16000).end()) == 0


@pytest.mark.parametrize("rate", [16000, 22050, 12000, 96000])
@pytest.mark.parametrize(("channels", "bits"), [(1, 16), (2, 16), (2, 8), (1, 24), (6, 32)])
def test_a_wav_file_in_pieces_is_what_it_is_whole(rate, channels, bits):
    count = len(NOISE.tobytes()) // (channels * bits // 8) * (channels * bits // 8)
    data = wav(NOISE.tobytes()[:count], rate, channels, bits)
    arriving = ArrivingWav()
    came = fed(arriving, data, seed=rate)
    whole = read_audio(data, sample_rate=arriving.sample_rate)
    assert alike(np.frombuffer(came, "<i2"), np.frombuffer(whole, "<i2"))
    assert arriving.sample_rate == (rate if rate == 22050 else 16000)


def test_a_head_may_come_byte_by_byte_and_audio_goes_on_before_the_end():
    arriving = ArrivingWav()
    data = wav(NOISE.tobytes())
    head = data[:100]
    assert b"".join(arriving.feed(head[i : i + 1]) for i in range(100)) == b""
    assert len(arriving.feed(data[100:20_000])) > 19_000


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x80000000, 0x7FFFFFFF])
def test_a_length_that_its_writer_did_not_know_goes_to_the_end(size):
    assert fed(ArrivingWav(), wav(NOISE.tobytes() + b"\x01", size=size)) == NOISE.tobytes()


def test_what_follows_the_audio_is_not_heard():
    data = wav(NOISE.tobytes()) + b"id3 \x04\0\0\0abcd"
    assert fed(ArrivingWav(), data) == NOISE.tobytes()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (wav(bytes(100), size=200), "cut short: it announces 200 bytes of audio and has 100"),
        (wav(bytes(101)), "ends inside a sample"),
        (wav(b"")[:40], "ends before its audio"),
        (b"RIFF\0\0\0\0WAVEdata\x04\0\0\0abcd", "its format|before its format"),
        (b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 1001, "over 1000 chunks"),
        (b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\0" + bytes(300_000), "no audio in its first 262144"),
        (wav(bytes(4), rate=100), "format cannot be"),
    ],
)
def test_a_wav_file_that_cannot_be_is_told(data, why):
    with pytest.raises(AudioError, match=why):
        fed(ArrivingWav(), data)


@pytest.mark.parametrize(
    "content_type",
    [
        "audio/pcm",
        "audio/pcm;rate=24000",
        "audio/L16;rate=11025;channels=2",
        "audio/l16; rate=8000",
    ],
)
def test_raw_samples_in_pieces_are_what_they_are_whole(content_type):
    arriving = ArrivingPcm(content_type, 16000)
    came = fed(arriving, NOISE.tobytes(), most=777)
    whole = read_audio(NOISE.tobytes(), sample_rate=arriving.sample_rate, content_type=content_type)
    assert alike(np.frombuffer(came, "<i2"), np.frombuffer(whole, "<i2"))


def test_half_a_sample_at_the_end_is_told():
    with pytest.raises(AudioError, match="3 bytes are no whole number"):
        fed(ArrivingPcm("audio/pcm"), b"abc")


def test_bytes_that_come_one_by_one_go_on_in_pieces_of_20_ms():
    arriving = ArrivingPcm("audio/pcm")
    pieces = [arriving.feed(b"\0") for _ in range(6400)]
    assert [len(piece) for piece in pieces if piece] == [640] * 10


def test_opus_goes_on_as_it_is():
    arriving = ArrivingOpus()
    assert arriving.feed(b"OggS...") + arriving.end() == b"OggS..."
