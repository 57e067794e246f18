from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_frames import BINARY, CLOSE, CONTINUATION, PING, Frame

from avatarpool.endpoint.scanner import FrameScanner

MANY = 10**9


def encoded(*frames: Frame) -> bytes:
    return b"".join(frame.encode(by_client=True) for frame in frames)


def scanned(scanner: FrameScanner, data: bytes, cuts: list[int]) -> int:
    """Scan it in pieces, as they come; return how much of it was to be taken."""
    rest, taken = b"", 0
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for begin, end in pairwise(places):
        piece = rest + data[begin:end]
        size = scanner.scan(piece, MANY)
        taken += size
        rest = piece[size:]
        if scanner.has_ended:
            break
        assert not rest or scanner.is_amid_header
    return taken


frames = st.lists(
    st.one_of(
        st.builds(Frame, st.just(BINARY), st.binary(max_size=300)),
        st.builds(Frame, st.just(PING), st.binary(max_size=125)),
        st.integers(65536, 65600).map(lambda size: Frame(BINARY, bytes(size))),
    ),
    max_size=6,
)


@given(frames, st.lists(st.integers(0, 1000), max_size=8))
def test_frames_are_followed_wherever_their_packets_end(sent: list[Frame], cuts: list[int]):
    scanner = FrameScanner(1 << 20)
    data = encoded(*sent)

    assert scanned(scanner, data, cuts) == len(data)
    assert scanner.violation is None
    of_messages = sum(len(frame.payload) for frame in sent if frame.opcode == BINARY)
    assert scanner.message_bytes == of_messages


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=8))
def test_any_bytes_are_taken_alike_wherever_their_packets_end(data: bytes, cuts: list[int]):
    whole, cut = FrameScanner(1000), FrameScanner(1000)
    assert scanned(whole, data, []) == scanned(cut, data, cuts)
    assert str(whole.violation) == str(cut.violation)
    assert whole.has_ended == cut.has_ended


def test_no_more_frames_are_taken_than_are_asked_for():
    scanner = FrameScanner(1000)
    data = encoded(*[Frame(BINARY, b"ab")] * 5)
    size = len(data) // 5

    assert scanner.scan(data, 2) == 2 * size
    assert scanner.scan(data[2 * size :], 2) == 2 * size
    assert scanner.message_bytes == 8


@pytest.mark.parametrize("limit", [10, 70_000])
def test_a_message_is_too_large_as_soon_as_its_header_says_so(limit):
    scanner = FrameScanner(limit)
    announced = Frame(BINARY, announced=limit + 1).encode(by_client=True)[:14]
    ping = encoded(Frame(PING, b"before"))

    assert scanner.scan(ping + announced, MANY) == len(ping)
    assert scanner.violation is not None
    assert scanner.violation.ending.close_code == 1009
    assert str(scanner.violation) == f"a message is over {limit} bytes"


def test_fragments_are_too_large_together():
    scanner = FrameScanner(10)
    first = encoded(Frame(BINARY, b"123456", is_final=False))
    second = encoded(Frame(CONTINUATION, b"78901", is_final=False))

    assert scanner.scan(first + second, MANY) == len(first)
    assert scanner.violation is not None
    assert scanner.violation.ending.close_code == 1009


def test_nothing_counts_after_a_close_frame():
    scanner = FrameScanner(10)
    close = encoded(Frame(CLOSE, b"\x03\xe8"))

    assert scanner.scan(close + b"nonsense", MANY) == len(close)
    assert scanner.has_ended
    assert scanner.violation is None
