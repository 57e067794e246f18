"""How much the kernel, TLS and picows may hold of one connection.

Neither ``SO_RCVBUF`` nor ``SO_SNDBUF`` is ever set: they bound what is on its way,
and a long link needs megabytes of that. The kernel counts small segments by
their full buffers, so that a small receive window closes on frames that come one by
one even where nothing is slow.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any, Protocol

from picows import WSTransport

try:
    import fcntl
    import termios
except ImportError:  # Windows
    _UNSENT = None
else:
    _UNSENT = termios.TIOCOUTQ  # of a socket: SIOCOUTQ, what the peer has not acknowledged

# Bytes that the kernel takes beyond what is on its way: what follows an interrupt
# waits no longer than for these, and the way to the peer never runs empty.
UNSENT_BYTES = 64 * 1024

_TCP_NOTSENT_LOWAT: int | None = getattr(
    socket, "TCP_NOTSENT_LOWAT", {"linux": 25, "darwin": 0x201}.get(sys.platform)
)

# The smallest initial read buffer that picows takes is 2 kB: 1 kB asks for it.
# The buffer grows by itself, and its 16 kB default is paid per idle connection.
SMALLEST_READ_BYTES = 1024

# picows doubles its read buffer whenever a read fills nine tenths of it, and keeps it:
# a burst of 220 kB leaves up to 260 kB behind. From this size on reads are kept to
# seven eighths, so that it grows for a single message that needs it alone. It is then
# one of 14 kB, after one of 7: the beginning of a message that is not complete lies in
# it at nearly every read, and what there is room for says no more than what is left.
_READ_BYTES = 8 * 1024

# What comes after the end is read in pieces of this size, and forgotten.
_UNREAD_BYTES = 4 * 1024

# aiofastnet reads and writes TLS through two buffers of 263 kB each, which stay with the
# connection once they were used. It takes no smaller ones than these.
_TLS_BUFFER_BYTES = 16 * 1024
TLS_BUFFERS: dict[str, Any] = {
    "ssl_incoming_bio_size": _TLS_BUFFER_BYTES,
    "ssl_outgoing_bio_size": _TLS_BUFFER_BYTES,
}


def bypass_tls_buffers(context: ssl.SSLContext) -> None:
    """Have OpenSSL read and write the sockets of a context itself, without those buffers.

    aiofastnet does so for kernel TLS, and by this switch without it: 33 kB for an idle
    connection in place of 54, and a third less CPU for bursts. Where a version does
    not know the switch, the buffers have the size above.
    """
    context._aiofastnet_force_socket_bio = True  # type: ignore[attr-defined]  # noqa: SLF001


def bound_unsent(sock: socket.socket) -> None:
    """Have the kernel take little more of our data than is on its way to the peer.

    Where it cannot be told so (Windows), it takes as much as its send buffer holds.
    """
    if _TCP_NOTSENT_LOWAT is not None:
        with contextlib.suppress(OSError):  # a kernel that does not know it
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def outstanding(transport: WSTransport) -> int:
    """Return how many bytes were written and not taken by the peer, as far as is known.

    Where the system does not tell, what the kernel holds is not counted.
    """
    tcp = transport.underlying_transport
    size: int = tcp.get_write_buffer_size()
    if _UNSENT is not None:
        held = array.array("i", [0])
        with contextlib.suppress(OSError, ValueError):  # it may be closed already
            fcntl.ioctl(tcp.get_extra_info("socket").fileno(), _UNSENT, held)
            size += held[0]
    return size


class _Reading(Protocol):
    """What a transport calls of picows' protocol."""

    get_buffer: Callable[[int], memoryview]
    buffer_updated: Callable[[int], object]
    eof_received: Callable[[], object]
    connection_lost: Callable[[Exception | None], object]
    pause_writing: Callable[[], object]
    resume_writing: Callable[[], object]


class BoundedReads:
    """Stands between a transport and picows: bounds its reads, and notes when there was one.

    Args:
        reading: picows' protocol.
        now: The event loop's clock.
    """

    __slots__ = (
        "_get_buffer",
        "_now",
        "_size",
        "buffer_updated",
        "connection_lost",
        "eof_received",
        "heard_at",
        "pause_writing",
        "resume_writing",
    )

    def __init__(self, reading: _Reading, now: Callable[[], float]) -> None:
        self._get_buffer = reading.get_buffer
        self._now = now
        self._size = 0  # of picows' buffer, as far as is known
        self.heard_at = now()
        # As they are: a method of ours in between would cost each read one more call.
        self.buffer_updated = reading.buffer_updated
        self.connection_lost = reading.connection_lost
        self.eof_received = reading.eof_received
        self.pause_writing = reading.pause_writing
        self.resume_writing = reading.resume_writing

    def is_buffered_protocol(self) -> bool:
        """Tell the transport where to read to."""
        return True

    def get_buffer(self, hint: int) -> memoryview:
        """Return where the next read goes."""
        self.heard_at = self._now()
        room = self._get_buffer(hint)
        size = len(room)
        if size > self._size:  # noqa: PLR1730  # max() would cost each read a call
            self._size = size
        if self._size >= _READ_BYTES:
            size -= self._size // 8
            if size > 0:  # otherwise the message at its beginning needs a larger one
                return room[:size]
        return room


class Unread:
    """Stands between a transport and picows once nothing more counts: reads on, to no end.

    A socket that is closed with data unread takes what was last written back.

    Args:
        reading: What stood there until now.
    """

    __slots__ = ("_room", "connection_lost", "eof_received", "pause_writing", "resume_writing")

    def __init__(self, reading: _Reading) -> None:
        self._room = memoryview(bytearray(_UNREAD_BYTES))
        self.connection_lost = reading.connection_lost
        self.eof_received = reading.eof_received
        self.pause_writing = reading.pause_writing
        self.resume_writing = reading.resume_writing

    def is_buffered_protocol(self) -> bool:
        """Tell the transport where to read to."""
        return True

    def get_buffer(self, _hint: int) -> memoryview:
        """Return where the next read goes."""
        return self._room

    def buffer_updated(self, size: int) -> None:
        """Forget it."""


def stop_hearing(transport: WSTransport) -> None:
    """Hand nothing of what comes from now on to picows."""
    tcp: Any = transport.underlying_transport
    tcp.set_protocol(Unread(tcp.get_protocol()))


def bound_reads(transport: WSTransport, loop: asyncio.AbstractEventLoop) -> BoundedReads:
    """Keep picows' read buffer small from now on."""
    tcp: Any = transport.underlying_transport
    reads = BoundedReads(tcp.get_protocol(), loop.time)
    tcp.set_protocol(reads)
    return reads
