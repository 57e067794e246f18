from __future__ import annotations

import statistics
import struct
from array import array
from functools import cache
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ogg_pages import FIRST, LAST, packets_page
from opus_clips import ogg_opus

from avatarpool.audio import read_audio
from avatarpool.service import opus
from avatarpool.service.decoding import AudioRefused
from avatarpool.service.opus import OpusDecoder, packet_samples


def head(*, version: int = 1, channels: int = 1, run_up: int = 312, family: int = 0) -> bytes:
    return struct.pack("<8sBBHIhB", b"OpusHead", version, channels, run_up, 16000, 0, family)


def stream(*pages: bytes, opus_head: bytes | None = None) -> bytes:
    return (
        packets_page(opus_head or head(), flags=FIRST)
        + packets_page(b"OpusTags" + bytes(8), sequence=1)
        + b"".join(pages)
    )


# A CELT packet of 20 ms without a payload: silence, by the book.
QUIET = bytes([0b11111_0_00])


@cache
def speech() -> bytes:
    return read_audio(str(files("avatarpool") / "assets" / "speech.wav"))


@cache
def clip(frame_ms: int) -> bytes:
    return ogg_opus(speech(), frame_ms=frame_ms)


def pulled(decoder: OpusDecoder) -> bytes:
    pcm = b""
    while not decoder.is_drained:
        pcm += decoder.pull(4800)
    return pcm


@pytest.mark.parametrize("frame_ms", [10, 20, 40, 60])
def test_a_clip_keeps_its_length_and_its_sound(frame_ms):
    decoder = OpusDecoder()
    decoder.push(clip(frame_ms))
    decoder.finish()
    samples = array("h", pulled(decoder))

    assert len(samples) == 3 * len(speech()) // 2
    original = array("h", speech())
    assert statistics.correlation(samples[::3], original) > 0.9


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(0, 10000), max_size=12))
def test_decoding_does_not_depend_on_how_the_bytes_are_cut(cuts):
    data = clip(20)[:10000]
    whole, cut = OpusDecoder(), OpusDecoder()
    whole.push(data)
    pcm = b""
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
        cut.push(data[start:stop])
        pcm += pulled(cut)

    assert pcm == pulled(whole)


def test_a_pull_is_bounded_however_much_was_pushed():
    decoder = OpusDecoder()
    decoder.push(clip(20))

    while not decoder.is_drained:
        assert len(decoder.pull(4800)) < 2 * (4800 + 960)


# 120 ms in two bytes, and in a page as many as it holds: half a minute.
LONG = bytes([0b11111_0_11, 6])
FULL = (LONG,) * 255
A_PULL, A_PACKET = 7680, 5760


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """The samples of each packet that is decoded."""
    told = []
    decode = opus._Codec.decode

    def counting(codec, packet):
        told.append(packet_samples(packet))
        return decode(codec, packet)

    monkeypatch.setattr(opus._Codec, "decode", counting)
    return told


@pytest.mark.parametrize(
    ("pages", "run_up", "kept"),
    [
        ([(FULL, LAST, 0)], 0, 0),
        ([(FULL, LAST, 1)], 0, 1),
        ([(FULL, 0, 2**62), (FULL, LAST, 0)], 0, 255 * A_PACKET),
        ([(FULL, 0, 0), (FULL, LAST, 2**63 - 1)], 0, 510 * A_PACKET),
        ([(FULL, LAST, 2**63 - 1)], 65535, 255 * A_PACKET - 65535),
        ([(FULL, LAST, 65535)], 65535, 0),
    ],
    ids=["nothing", "a sample", "time runs back", "time leaps", "run-up", "run-up and nothing"],
)
def test_a_pull_decodes_no_more_than_asked_for_whatever_is_kept(decoded, pages, run_up, kept):
    decoder = OpusDecoder()
    audio = [
        packets_page(*packets, flags=flags, granule=granule, sequence=2 + at)
        for at, (packets, flags, granule) in enumerate(pages)
    ]
    decoder.push(stream(*audio, opus_head=head(run_up=run_up)))
    decoder.finish()
    pcm = b""
    while not decoder.is_drained:
        before = sum(decoded)
        pcm += decoder.pull(A_PULL)
        assert 0 < sum(decoded) - before < A_PULL + A_PACKET
        assert decoder.decoded_samples == sum(decoded)

    assert len(pcm) == 2 * kept


def test_packets_behind_all_that_is_kept_are_not_decoded(decoded):
    decoder = OpusDecoder()
    decoder.push(stream(packets_page(*FULL, sequence=2, flags=LAST, granule=A_PACKET + 1)))

    pulled(decoder)
    assert len(decoded) == 2


@settings(max_examples=40, deadline=None)
@given(
    pages=st.lists(
        st.tuples(
            st.lists(st.sampled_from([QUIET, LONG, QUIET + b"\x55" * 9]), max_size=12),
            st.integers(0, 2**63 - 1) | st.integers(0, 2**17),
        ),
        max_size=5,
    ),
    run_up=st.integers(0, 65535),
    is_ended=st.booleans(),
)
def test_work_is_counted_for_any_positions(pages, run_up, is_ended):
    audio = [
        packets_page(
            *packets,
            granule=granule,
            flags=LAST if is_ended and at == len(pages) else 0,
            sequence=1 + at,
        )
        for at, (packets, granule) in enumerate(pages, 1)
    ]
    decoder = OpusDecoder()
    decoder.push(stream(*audio, opus_head=head(run_up=run_up)))
    while not decoder.is_drained:
        before = decoder.decoded_samples
        pcm = decoder.pull(A_PULL)
        assert len(pcm) // 2 <= decoder.decoded_samples - before < A_PULL + A_PACKET

    assert decoder.decoded_samples <= sum(
        packet_samples(packet) for packets, _ in pages for packet in packets
    )


def test_the_run_up_is_dropped_and_the_last_page_trimmed():
    decoder = OpusDecoder()
    decoder.push(stream(packets_page(QUIET, QUIET, sequence=2, flags=LAST, granule=1500)))
    decoder.finish()

    assert len(pulled(decoder)) == 2 * (1500 - 312)


def test_nothing_at_all_is_no_fault():
    decoder = OpusDecoder()
    decoder.finish()

    assert decoder.is_drained


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (packets_page(b"OpusHea", flags=FIRST), "no OpusHead"),
        (packets_page(b"OpusHead" + bytes(5), flags=FIRST), "has 13 bytes"),
        (packets_page(head(version=16), flags=FIRST), "version 16"),
        (packets_page(head(channels=3), flags=FIRST), "3 channels"),
        (packets_page(head(family=1), flags=FIRST), "family 1"),
        (packets_page(head(), flags=FIRST) + packets_page(QUIET, sequence=1), "no OpusTags"),
        (stream(packets_page(b"", sequence=2)), "packet is empty"),
        (stream(packets_page(b"\x1b\x3f", sequence=2)), "opus packet of"),
        (b"RIFF", "no ogg stream"),
    ],
)
def test_what_is_no_opus_is_refused(data, complaint):
    with pytest.raises(AudioRefused, match=complaint):
        OpusDecoder().push(data)


def test_a_broken_packet_is_refused():
    decoder = OpusDecoder()
    # Two frames of one size, and an odd number of bytes to share.
    decoder.push(stream(packets_page(b"\xf9\x00\x00\x00", sequence=2)))

    with pytest.raises(AudioRefused, match="cannot be decoded"):
        decoder.pull(4800)


@pytest.mark.parametrize(
    ("packet", "milliseconds"),
    [
        (b"\x00", 10),
        (b"\x18", 60),
        (b"\x61", 20),
        (b"\xf8", 20),
        (b"\xe2", 5),
        (b"\xfb\x06", 120),
    ],
)
def test_a_packet_says_how_long_it_is(packet, milliseconds):
    assert packet_samples(packet) == 48 * milliseconds


@settings(max_examples=60, deadline=None)
@given(packets=st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_arbitrary_packets_are_decoded_or_refused(packets):
    decoder = OpusDecoder()
    try:
        decoder.push(stream(packets_page(*packets, sequence=2, flags=LAST, granule=10**9)))
        pcm = pulled(decoder)
    except AudioRefused:
        return
    assert len(pcm) <= 2 * 5760 * len(packets)
