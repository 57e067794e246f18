"""The RIFF reader: every encoding it promises, and only AudioError for the rest."""

import struct
import tracemalloc
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatarpool.audio import read_audio
from avatarpool.audio.wav import read_wav
from avatarpool.exceptions import AudioError

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
SAMPLES = [0, 1000, -1000, 32767, -32768, 256]


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    return (
        struct.pack("<4sI", name, len(body) if size is None else size)
        + body
        + b"\0" * (len(body) % 2)
    )


def fmt(*, kind=PCM, channels=1, rate=16000, bits=16, block=None, extra=b"") -> bytes:
    block = channels * bits // 8 if block is None else block
    body = struct.pack("<HHIIHH", kind, channels, rate, rate * block, block, bits)
    return chunk(b"fmt ", body + extra)


def riff(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return chunk(b"RIFF", body)


def s16(samples) -> bytes:
    return struct.pack(f"<{len(samples)}h", *samples)


@pytest.mark.parametrize(
    ("kind", "bits", "raw"),
    [
        (PCM, 8, bytes(128 + (sample >> 8) for sample in SAMPLES)),
        (PCM, 16, s16(SAMPLES)),
        (PCM, 24, b"".join(b"\x7f" + struct.pack("<h", sample) for sample in SAMPLES)),
        (PCM, 32, struct.pack("<6i", *(sample << 16 for sample in SAMPLES))),
        (FLOAT, 32, struct.pack("<6f", *(sample / 32767 for sample in SAMPLES))),
    ],
)
def test_each_encoding_gives_the_same_samples(kind, bits, raw):
    samples, rate = read_wav(riff(fmt(kind=kind, bits=bits, rate=24000), chunk(b"data", raw)))
    assert rate == 24000
    # Eight bits keep only the upper byte, and full-scale float has no -32768.
    tolerance = 255 if bits == 8 else 1
    assert all(abs(a - b) <= tolerance for a, b in zip(samples, SAMPLES, strict=True))


def test_the_extensible_header_is_read_by_its_subformat():
    subformat = struct.pack("<HHIH", 22, 16, 4, PCM) + bytes(14)
    header = fmt(kind=EXTENSIBLE, extra=subformat)
    samples, _ = read_wav(riff(header, chunk(b"data", s16(SAMPLES))))
    assert samples.tolist() == SAMPLES


def test_channels_are_averaged():
    samples, _ = read_wav(riff(fmt(channels=2), chunk(b"data", s16([100, 300, -5, 5]))))
    assert samples.tolist() == [200, 0]


def test_float_beyond_full_scale_is_clipped_and_nan_is_silence():
    raw = struct.pack("<4f", 2.0, -2.0, float("nan"), float("inf"))
    samples, _ = read_wav(riff(fmt(kind=FLOAT, bits=32), chunk(b"data", raw)))
    assert samples.tolist() == [32767, -32767, 0, 32767]


def test_other_chunks_are_skipped_with_their_padding():
    wav = riff(chunk(b"LIST", b"odd"), fmt(), chunk(b"fact", bytes(4)), chunk(b"data", s16([7])))
    assert read_wav(wav) == (array("h", [7]), 16000)


def test_a_streamed_file_without_a_known_length_is_read_to_its_end():
    wav = riff(fmt(), chunk(b"data", s16(SAMPLES), size=0xFFFFFFFF))
    assert read_wav(wav)[0].tolist() == SAMPLES


@pytest.mark.parametrize("rate", [4000, 384_000])
def test_rates_from_the_least_to_the_highest_are_read(rate):
    assert read_wav(riff(fmt(rate=rate), chunk(b"data", s16(SAMPLES))))[1] == rate


@pytest.mark.parametrize("rate", [4000, 8000, 44100, 384_000])
def test_reading_takes_a_small_multiple_of_the_file_and_what_comes_out(rate):
    wav = riff(fmt(rate=rate, bits=8), chunk(b"data", bytes(range(256)) * 4000))
    read_audio(wav, sample_rate=48000)  # all that is imported is
    tracemalloc.start()
    try:
        pcm = read_audio(wav, sample_rate=48000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * (len(wav) + len(pcm)) + 1e6


@pytest.mark.parametrize(
    ("wav", "says"),
    [
        (riff(), "ends before its audio: export it again"),
        (riff(fmt()), "ends before its audio"),
        (riff(chunk(b"data", b"ab")), "audio before its format"),
        (riff(chunk(b"fmt ", b"short")), "format is cut short"),
        (riff(fmt(), chunk(b"data", b"ab", size=100)), "announces 100 bytes of audio and has 2"),
        (riff(fmt(), chunk(b"data", b"abc")), "ends inside a sample"),
        (riff(fmt(channels=0, block=2), chunk(b"data", b"ab")), r"0 channels, 16000 Hz"),
        (riff(fmt(rate=0), chunk(b"data", b"ab")), "1 channels, 0 Hz"),
        (riff(fmt(rate=1), chunk(b"data", b"ab")), "1 channels, 1 Hz"),
        (riff(fmt(rate=3999), chunk(b"data", b"ab")), "1 channels, 3999 Hz"),
        (riff(fmt(rate=384_001), chunk(b"data", b"ab")), "1 channels, 384001 Hz"),
        (riff(fmt(block=0), chunk(b"data", b"ab")), "0 bytes each"),
        (riff(fmt(kind=0x55), chunk(b"data", b"ab")), r"format 85, 16 bits.*export it as 16-bit"),
        (riff(fmt(bits=12), chunk(b"data", b"ab")), "12 bits"),
    ],
)
def test_a_damaged_file_is_refused_in_a_sentence_that_says_what_to_do(wav, says):
    with pytest.raises(AudioError, match=says):
        read_wav(wav)


chunks = st.builds(
    chunk,
    st.sampled_from([b"fmt ", b"data", b"LIST"]) | st.binary(min_size=4, max_size=4),
    st.binary(max_size=64)
    | st.builds(
        lambda kind, channels, rate, block, bits: struct.pack(
            "<HHIIHH", kind, channels, rate, 0, block, bits
        ),
        st.sampled_from([PCM, FLOAT, EXTENSIBLE]),
        st.integers(0, 3),
        st.sampled_from([0, 1, 8000, 44100, 2**32 - 1]),
        st.integers(0, 12),
        st.sampled_from([0, 8, 16, 24, 32]),
    ),
    st.none() | st.integers(0, 2**32 - 1),
)


@given(st.binary() | st.lists(chunks, max_size=5).map(lambda parts: riff(*parts)))
def test_arbitrary_bytes_raise_audio_error_alone(data):
    try:
        pcm = read_audio(data, sample_rate=8000)
    except AudioError:
        return
    assert len(pcm) % 2 == 0
