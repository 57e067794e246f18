from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ogg_pages import CONTINUED, FIRST, LAST, packets_page, page

from avatarpool.service.ogg import MAX_PACKET_BYTES, OggReader, OggRefused, Page

BEGIN = packets_page(b"one", flags=FIRST)


def test_pages_come_out_as_they_went_in():
    reader = OggReader()
    stream = BEGIN + packets_page(b"two", b"", b"x" * 600, flags=LAST, granule=960, sequence=1)

    assert reader.feed(stream) == [
        Page([b"one"], 0, is_last=False),
        Page([b"two", b"", b"x" * 600], 960, is_last=True),
    ]
    assert reader.has_ended
    reader.finish()


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 760), max_size=20))
def test_pages_do_not_depend_on_how_the_bytes_are_cut(cuts):
    stream = BEGIN + packets_page(b"x" * 700, flags=LAST, sequence=1)
    reader = OggReader()
    pages = []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), len(stream)], strict=True):
        pages += reader.feed(stream[start:stop])

    assert [packet for one in pages for packet in one.packets] == [b"one", b"x" * 700]


def test_a_packet_goes_on_over_pages():
    reader = OggReader()
    pages = reader.feed(
        BEGIN
        + page(b"\xff", b"a" * 255, sequence=1, granule=-1)
        + page(b"\xff", b"b" * 255, sequence=2, granule=-1, flags=CONTINUED)
        + page(b"\x01", b"c", sequence=3, granule=5, flags=CONTINUED)
    )

    assert pages[1] == pages[2] == Page([], -1, is_last=False)
    assert pages[3] == Page([b"a" * 255 + b"b" * 255 + b"c"], 5, is_last=False)


@pytest.mark.parametrize(
    ("stream", "complaint"),
    [
        (b"RIFF", "no ogg stream"),
        (BEGIN + b"x", "no ogg stream"),
        (packets_page(b"one", flags=FIRST, version=1), "version 1"),
        (packets_page(b"one"), "begins"),
        (BEGIN + packets_page(b"two", flags=FIRST, sequence=1), "begins"),
        (BEGIN + packets_page(b"two", serial=8, sequence=1), "multiplexed"),
        (BEGIN + packets_page(b"two", sequence=2), "page 2 came in place of page 1"),
        (BEGIN + packets_page(b"two", sequence=1, flags=CONTINUED), "does not go on"),
        (BEGIN + page(b"\xff", b"a" * 255, sequence=1) + packets_page(b"b", sequence=2), "go on"),
        (packets_page(b"a", flags=FIRST | LAST) + packets_page(b"b", sequence=1), "after its end"),
        (BEGIN + packets_page(b"two", sequence=1, granule=-2), "granule position -2"),
        (BEGIN[:-1] + b"E", "checksum"),
        (BEGIN[:6] + b"\x01" + BEGIN[7:], "checksum"),
    ],
)
def test_what_is_no_single_ogg_stream_is_refused(stream, complaint):
    with pytest.raises(OggRefused, match=complaint):
        OggReader().feed(stream)


@pytest.mark.parametrize("stream", [BEGIN[:-1], BEGIN + page(b"\xff", b"a" * 255, sequence=1)])
def test_a_stream_that_breaks_off_is_refused(stream):
    reader = OggReader()
    reader.feed(stream)

    with pytest.raises(OggRefused, match="in the middle"):
        reader.finish()


def test_an_endless_packet_is_refused():
    reader = OggReader()
    reader.feed(BEGIN)
    full = 255 * 255

    reader.feed(page(b"\xff" * 255, bytes(full), sequence=1, granule=-1))
    assert full < MAX_PACKET_BYTES
    with pytest.raises(OggRefused, match=f"larger than {MAX_PACKET_BYTES}"):
        reader.feed(page(b"\xff" * 255, bytes(full), sequence=2, granule=-1, flags=CONTINUED))


@settings(deadline=None)
@given(pieces=st.lists(st.binary(max_size=300), max_size=10))
def test_arbitrary_bytes_are_refused_and_nothing_else(pieces):
    reader = OggReader()
    try:
        for piece in pieces:
            reader.feed(piece)
        reader.finish()
    except OggRefused:
        pass
    else:
        assert not any(pieces)


@settings(deadline=None)
@given(at=st.integers(0, 300), byte=st.integers(0, 255), cut=st.integers(0, 301))
def test_a_damaged_stream_is_refused_and_nothing_else(at, byte, cut):
    stream = bytearray(BEGIN + packets_page(b"x" * 230, flags=LAST, sequence=1))
    stream[at % len(stream)] = byte
    reader = OggReader()
    try:
        pages = reader.feed(bytes(stream[:cut])) + reader.feed(bytes(stream[cut:]))
        reader.finish()
    except OggRefused:
        pass
    else:
        assert [packet for one in pages for packet in one.packets] == [b"one", b"x" * 230]


def test_no_more_is_kept_than_a_page_and_a_packet():
    reader = OggReader()
    reader.feed(BEGIN)
    whole = page(b"\xff" * 255, bytes(255 * 255), sequence=1, granule=-1)
    for at in range(0, len(whole), 1000):
        reader.feed(whole[at : at + 1000])
        assert len(reader._buffer) <= len(whole)

    assert len(reader._buffer) == 0
    assert len(reader._packet) == 255 * 255
