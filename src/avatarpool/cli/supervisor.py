"""What systemd, or another supervisor, is told of a service that it has started."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def tell_supervisor(state: str) -> None:
    """Tell whoever has started this process how it stands, if somebody wants to know.

    The protocol of sd_notify(3): a datagram to the Unix socket that ``NOTIFY_SOCKET`` names; an
    abstract one has an @ in front. That it cannot be told is no reason to fail.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.setblocking(False)
        told.sendto(state.encode(), address)
