"""The RIFF reader: every encoding it promises, and only AudioError for the rest."""

import struct
import tracemalloc

import av
import pytest
from hypothesis import given, settings
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
        (FLOAT, 64, struct.pack("<6d", *(sample / 32767 for sample in SAMPLES))),
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


@pytest.mark.parametrize(
    ("kind", "bits", "raw"),
    [
        (6, 8, bytes(range(256))),
        (7, 8, bytes(range(256))),
        (FLOAT, 64, struct.pack("<d", 0.25) * 9),
    ],
)
def test_the_extensible_header_holds_any_encoding(kind, bits, raw):
    subformat = struct.pack("<HHIH", 22, bits, 4, kind) + bytes(14)
    plain = riff(fmt(kind=kind, bits=bits), chunk(b"data", raw))
    extensible = riff(fmt(kind=EXTENSIBLE, bits=bits, extra=subformat), chunk(b"data", raw))
    assert read_wav(extensible)[0].tolist() == read_wav(plain)[0].tolist()


@pytest.mark.parametrize(("kind", "decoder"), [(6, "pcm_alaw"), (7, "pcm_mulaw")])
def test_each_byte_of_g711_is_what_ffmpeg_has_for_it(kind, decoder):
    data = bytes(range(256))
    samples, _ = read_wav(riff(fmt(kind=kind, bits=8), chunk(b"data", data)))
    context = av.CodecContext.create(decoder, "r")
    context.sample_rate, context.layout = 16000, "mono"
    (frame,) = context.decode(av.Packet(data))
    assert samples.tolist() == frame.to_ndarray()[0].tolist()


def test_channels_are_averaged():
    samples, _ = read_wav(riff(fmt(channels=2), chunk(b"data", s16([100, 300, -5, 5]))))
    assert samples.tolist() == [200, 0]


def test_float_beyond_full_scale_is_clipped_and_nan_is_silence():
    raw = struct.pack("<4f", 2.0, -2.0, float("nan"), float("inf"))
    samples, _ = read_wav(riff(fmt(kind=FLOAT, bits=32), chunk(b"data", raw)))
    assert samples.tolist() == [32767, -32767, 0, 32767]


def test_other_chunks_are_skipped_with_their_padding():
    wav = riff(chunk(b"LIST", b"odd"), fmt(), chunk(b"fact", bytes(4)), chunk(b"data", s16([7])))
    assert read_wav(wav)[0].tolist() == [7]


@pytest.mark.parametrize(
    ("told", "data"),
    [
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x7FFFF024, 0x7FFFF000),
        (0x7FFFFFFF, 0x7FFFFFFF),
        (0x80000023, 0x7FFFFFFF),
        (0x80000024, 0x80000000),
        (0xFFFFFFFF, 0xFFFFFFFF - 36),
        (0xFFFFFFFF, 0),
        (36, 0),
        (0, 0),
        (52, 0xFFFFFFFF),
    ],
)
@pytest.mark.parametrize("rest", [b"", b"\1"])
def test_a_streamed_file_without_a_known_length_is_read_to_its_end(told, data, rest):
    wav = riff(fmt(), chunk(b"data", s16(SAMPLES), size=data))
    wav = wav[:4] + struct.pack("<I", told) + wav[8:] + rest
    assert read_wav(wav)[0].tolist() == SAMPLES


def test_no_length_and_another_chunk_behind_is_no_audio():
    wav = riff(fmt(), chunk(b"data", b""), chunk(b"LIST", b"INFOxxxx"))
    assert read_wav(wav)[0].tolist() == []


def test_chunks_are_read_in_any_order_and_without_their_padding():
    data = chunk(b"data", s16(SAMPLES))
    assert read_wav(riff(data, chunk(b"LIST", bytes(7)), fmt()))[0].tolist() == SAMPLES
    unpadded = struct.pack("<4sI", b"LIST", 7) + bytes(7)
    assert read_wav(riff(unpadded, fmt(), unpadded, data, unpadded))[0].tolist() == SAMPLES


def w64(*chunks: tuple[bytes, bytes], size: int | None = None) -> bytes:
    riff_tail = bytes.fromhex("2e91cf11a5d628db04c10000")
    tail = bytes.fromhex("f3acd3118cd100c04f8edb8a")
    body = b"wave" + tail
    for name, content in chunks:
        told = 24 + len(content) if size is None or name != b"data" else size
        body += name + tail + struct.pack("<Q", told) + content + bytes(-len(content) % 8)
    total = 24 + len(body) if size is None else 2**64 - 1
    return b"riff" + riff_tail + struct.pack("<Q", total) + body


@pytest.mark.parametrize("size", [None, 2**63 - 1, 2**64 - 1])
def test_wave64_is_read(size):
    audio = s16([*SAMPLES, 1, 2])
    wav = w64((b"junk", b"odd"), (b"fmt ", fmt(channels=2)[8:]), (b"data", audio), size=size)
    assert read_wav(wav)[0].tolist() == [500, 15883, -16256, 1]
    with pytest.raises(AudioError, match="cut short"):
        read_wav(w64((b"fmt ", fmt()[8:]), (b"data", audio))[:-2])


def rf64(riff_size: int, data_size: int, told: int = 0xFFFFFFFF, kind: bytes = b"RF64") -> bytes:
    sizes = chunk(b"ds64", struct.pack("<QQQI", riff_size, data_size, 0, 0))
    body = b"WAVE" + sizes + fmt() + chunk(b"data", s16(SAMPLES), size=told) + b"LIST\0\0\0\0"
    return kind + struct.pack("<I", 0xFFFFFFFF) + body


@pytest.mark.parametrize("kind", [b"RF64", b"BW64"])
def test_rf64_has_its_lengths_in_a_chunk_of_their_own(kind):
    assert read_wav(rf64(92, 12, kind=kind))[0].tolist() == SAMPLES
    assert read_wav(rf64(92, 1000, told=12, kind=kind))[0].tolist() == SAMPLES
    assert read_wav(rf64(0, 0, kind=kind))[0].tolist()[:6] == SAMPLES
    with pytest.raises(AudioError, match="announces 1000 bytes of audio and has 20"):
        read_wav(rf64(1080, 1000, kind=kind))


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
        (riff(chunk(b"data", b"ab")), "ends before its format"),
        (riff(*[chunk(b"LIST", b"")] * 1001), "over 1000 chunks"),
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


@settings(deadline=None)
@given(st.binary() | st.lists(chunks, max_size=5).map(lambda parts: riff(*parts)))
def test_arbitrary_bytes_raise_audio_error_alone(data):
    try:
        pcm = read_audio(data, sample_rate=8000)
    except AudioError:
        return
    assert len(pcm) % 2 == 0
