"""picows' protocol of one connection: how it is made, and what it has to complain of.

Of picows 2.3 this relies on the constructor that its own `ws_connect` and `ws_create_server`
call, and on what it does with a frame that breaks the protocol: it logs ``WS parser error``
with the close code and the reason, and only then sends them, unless a close frame was sent
already.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from picows import WSAutoPingStrategy, WSListener
from picows.picows import WSProtocol  # type: ignore[attr-defined]
from picows.url import WSParsedURL

from avatarpool.transport.buffers import SMALLEST_READ_BYTES

# picows logs upgrade requests, and with them session keys, at its debug
# levels; this logger keeps to warnings whatever the application has set.
log = logging.getLogger("avatarpool.transport.picows")
log.setLevel(logging.WARNING)

HEADER_ROOM = bytes(14)
"""What `send_reuse_external_bytearray` wants free in front of a message: the longest header."""


def client_protocol(
    listener: WSListener,
    url: WSParsedURL,
    headers: Mapping[str, str],
    *,
    max_frame_bytes: int,
    frame_broken: Callable[[int, str], None],
) -> Any:
    """Make the protocol.

    Args:
        listener: Gets its frames.
        url: What to ask for.
        headers: What to ask for it with.
        max_frame_bytes: Of larger ones it complains.
        frame_broken: A method that is told the close code and the reason of such
            complaints, before the peer is; what it sends goes in their place.
    """
    return _protocol(
        lambda *_: listener,
        frame_broken,
        max_frame_bytes,
        host_port=url.netloc,
        ws_path=url.resource_name,
        is_client_side=True,
        extra_headers=dict(headers),
    )


def server_protocol(
    listener: WSListener, *, max_frame_bytes: int, frame_broken: Callable[[int, str], None]
) -> Any:
    """Make the protocol of a server's connection, whose upgrade was judged before.

    Args:
        listener: Gets its frames.
        max_frame_bytes: Of larger ones it complains.
        frame_broken: As of `client_protocol`.
    """
    return _protocol(
        lambda _: listener,
        frame_broken,
        max_frame_bytes,
        host_port=None,
        ws_path=None,
        is_client_side=False,
        extra_headers=None,
    )


def _protocol(
    factory: Callable[..., WSListener],
    frame_broken: Callable[[int, str], None],
    max_frame_bytes: int,
    **side: Any,
) -> Any:
    return WSProtocol(
        ws_listener_factory=factory,
        logger=_Complaints(frame_broken),
        disconnect_on_exception=True,
        websocket_handshake_timeout=None,  # whoever makes it has one
        enable_auto_ping=False,
        auto_ping_idle_timeout=0,
        auto_ping_reply_timeout=0,
        auto_ping_strategy=WSAutoPingStrategy.PING_WHEN_IDLE,
        enable_auto_pong=False,
        max_frame_size=max_frame_bytes,
        read_buffer_init_size=SMALLEST_READ_BYTES,
        **side,
    )


class _Complaints(logging.LoggerAdapter[logging.Logger]):
    """What picows logs about one connection.

    picows looks one frame ahead, and answers a broken one before it hands over the one
    before that, which may be a close frame. What it logs of it, at ERROR, is a peer's fault
    that whoever uses the connection is told anyway: it goes no further.
    """

    def __init__(self, frame_broken: Callable[[int, str], None]) -> None:
        super().__init__(log)
        self._frame_broken = weakref.WeakMethod(frame_broken)  # its object has picows, too

    def error(self, msg: object, *args: Any, **kwargs: Any) -> None:
        """Take the news of a broken frame; log the rest."""
        frame_broken = self._frame_broken()
        if frame_broken is not None and str(msg).startswith("WS parser error"):
            code, why = args[0]
            frame_broken(code, why[:1].lower() + why[1:])
        else:
            super().error(msg, *args, **kwargs)
