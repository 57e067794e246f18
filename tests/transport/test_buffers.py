"""What the kernel, TLS and picows may hold of one connection."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest
from picows import WSTransport

from avatarpool.transport import buffers
from avatarpool.transport.buffers import BoundedReads, bound_unsent, bypass_tls_buffers, outstanding

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells and bounds both")


INITIAL = 2048 - 256  # the smallest buffer of picows


class Reading:
    """Reads as picows' protocol does: a buffer that grows by each read that nearly fills it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.held = 0  # bytes of a message that is not complete
        self.calls: list[tuple[object, ...]] = []

    def get_buffer(self, hint: int) -> memoryview:
        return memoryview(bytearray(self.size - self.held))

    def buffer_updated(self, size: int) -> None:
        self.held += size
        if self.held > 0.9 * self.size:
            self.size *= 2

    def eof_received(self) -> None:
        self.calls.append(("eof",))

    def connection_lost(self, error: Exception | None) -> None:
        self.calls.append(("lost", error))

    def pause_writing(self) -> None:
        self.calls.append(("pause",))

    def resume_writing(self) -> None:
        self.calls.append(("resume",))


def bounded(reading: Reading) -> BoundedReads:
    return BoundedReads(reading, lambda: 0.0)


def read(reads: BoundedReads, waiting: int) -> int:
    """Read as much as there is room for; return how much that was."""
    size = min(len(reads.get_buffer(-1)), waiting)
    reads.buffer_updated(size)
    return size


@pytest.mark.parametrize("frame", [1, 100, 500, 2000])
def test_a_burst_of_frames_does_not_grow_the_read_buffer_beyond_its_bound(frame: int):
    reading = Reading(INITIAL)
    reads = bounded(reading)
    waiting = 1_000_000
    while waiting:
        waiting -= read(reads, waiting)
        reading.held %= frame  # whole frames are handed over at once
    assert reading.size == 8 * INITIAL


@pytest.mark.parametrize("message", [15_000, 30_000, 4_000_000])
@pytest.mark.parametrize("burst", [0, 100_000])
def test_a_message_that_needs_a_larger_buffer_has_it(message: int, burst: int):
    reading = Reading(INITIAL)
    reads = bounded(reading)
    while burst > 0:
        burst -= read(reads, burst)
        reading.held = 0
    missing = message
    while missing:
        size = read(reads, missing)
        assert size > 0, "a read of nothing ends a connection"
        missing -= size
    assert reading.size <= max(8 * INITIAL, 2.5 * message)


def test_the_buffer_grows_no_more_after_a_large_message():
    reading = Reading(INITIAL)
    reads = bounded(reading)
    missing = 100_000
    while missing:
        missing -= read(reads, missing)
    size = reading.size
    for _ in range(100):
        reading.held = 0
        read(reads, 1_000_000)
    assert reading.size == size


def test_each_read_is_noted():
    clock = iter([1.0, 5.0, 7.0])
    reads = BoundedReads(Reading(INITIAL), lambda: next(clock))
    assert reads.heard_at == 1.0
    reads.get_buffer(-1)
    assert reads.heard_at == 5.0
    reads.get_buffer(-1)
    assert reads.heard_at == 7.0


def test_everything_else_goes_to_picows_as_it_is():
    reading = Reading(INITIAL)
    reads = bounded(reading)
    lost = OSError()
    reads.eof_received()
    reads.pause_writing()
    reads.resume_writing()
    reads.connection_lost(lost)
    assert reading.calls == [("eof",), ("pause",), ("resume",), ("lost", lost)]
    assert reads.is_buffered_protocol()


# --- the kernel ---------------------------------------------------------------------------


@only_linux
def test_the_kernel_takes_little_ahead_of_time_from_a_bounded_socket():
    taken = {}
    for is_bounded in (True, False):
        with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as sock:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
            if is_bounded:
                bound_unsent(sock)
            sock.connect(listening.getsockname())
            sock.setblocking(False)
            taken[is_bounded] = 0
            with selectors.DefaultSelector() as selector, contextlib.suppress(BlockingIOError):
                selector.register(sock, selectors.EVENT_WRITE)
                while selector.select(0.2):  # as an event loop asks whether it may write
                    taken[is_bounded] += sock.send(bytes(16 * 1024))
    assert taken[True] <= buffers.UNSENT_BYTES + 64 * 1024
    assert taken[False] > 2 * taken[True]


class Deaf:
    """A socket of a system that knows no such option."""

    def __init__(self) -> None:
        self.asked = 0

    def setsockopt(self, *option: int) -> None:
        self.asked += 1
        raise OSError(92, "Protocol not available")


def test_a_system_that_cannot_bound_what_it_takes_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
):
    sock: Any = Deaf()
    monkeypatch.setattr(buffers, "_TCP_NOTSENT_LOWAT", 25)
    bound_unsent(sock)
    assert sock.asked == 1
    monkeypatch.setattr(buffers, "_TCP_NOTSENT_LOWAT", None)
    bound_unsent(sock)
    assert sock.asked == 1


def over(sock: socket.socket, *, buffered: int) -> WSTransport:
    """A transport over a socket that has some bytes in a buffer of its own."""
    tcp = SimpleNamespace(get_write_buffer_size=lambda: buffered, get_extra_info=lambda name: sock)
    return cast("WSTransport", SimpleNamespace(underlying_transport=tcp))


@only_linux
def test_what_the_kernel_holds_counts_as_not_taken():
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as sock:
        sock.connect(listening.getsockname())
        receiving, _ = listening.accept()
        transport = over(sock, buffered=7)
        with receiving:
            assert outstanding(transport) == 7
            sock.setblocking(False)
            sent = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    sent += sock.send(bytes(64 * 1024))
            held = outstanding(transport) - 7
            assert 0 < held < sent  # the rest is in the receiver's window
            receiving.setblocking(True)
            while sent:
                sent -= len(receiving.recv(sent))
            while outstanding(transport) > 7:  # its acknowledgements are under way
                pass


@pytest.mark.parametrize("knows", [True, False])
def test_where_the_system_does_not_tell_the_transports_own_buffer_counts(
    knows: bool, monkeypatch: pytest.MonkeyPatch
):
    closed = socket.socket()
    closed.close()
    if not knows:
        monkeypatch.setattr(buffers, "_UNSENT", None)
    assert outstanding(over(closed, buffered=7)) == 7


def test_openssl_uses_the_sockets_of_a_context_itself():
    context = ssl.create_default_context()
    bypass_tls_buffers(context)
    assert cast("Any", context)._aiofastnet_force_socket_bio is True
