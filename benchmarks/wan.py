"""A wide-area link on one machine: runs a command on its far side.

    python benchmarks/wan.py RTT_MS [--loss PERCENT] [--network NETWORK] COMMAND ...

Two TUN devices are joined by this process, which holds each packet for half the
round trip and loses some. The near one, with the network's first address, is on
this machine; the far one, with the second, is in a network namespace that only
this process and the command live in. There is nothing to clean up: devices go
with their descriptors and a namespace with its processes, however those end.

Linux, as root. Where no network is given, it is one of those that RFC 2544 keeps
for measurements, by the number of this process: several links can be up at once.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from ipaddress import IPv4Interface, IPv4Network

RANGE = IPv4Network("198.18.0.0/15")

# Of <linux/if_tun.h> and <sched.h>.
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000

# Each device queues what this process has yet to read: a window of several requests,
# of which none is to be lost but by chance.
_QUEUE_PACKETS = 20_000

_MOST_BYTES = 65_536  # of a packet
_AT_ONCE = 64  # packets read from one side before those that are due leave


def own_network() -> str:
    """Return a network that another process will hardly use."""
    at = 4 * os.getpid() % RANGE.num_addresses
    return f"{RANGE[at]}/30"


def ends_of(network: str) -> tuple[str, str]:
    """Return the addresses of the near and the far side."""
    near, far, *_ = IPv4Network(network).hosts()
    return str(near), str(far)


class Device:
    """A TUN device, which is gone when its descriptor is closed."""

    def __init__(self) -> None:
        self.descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        request = struct.pack("16sH22x", b"bench%d", _IFF_TUN | _IFF_NO_PI)
        answer = fcntl.ioctl(self.descriptor, _TUNSETIFF, request)
        self._name = answer[:16].rstrip(b"\0").decode()  # the kernel has counted

    def up(self, interface: IPv4Interface) -> None:
        """Give it its address and bring it up."""
        _ip(
            f"address add {interface} dev {self._name}",
            f"link set {self._name} txqueuelen {_QUEUE_PACKETS} up",
        )


def _ip(*commands: str) -> None:
    subprocess.run(
        ["ip", "-batch", "-"],  # noqa: S607  # found where it is installed
        input="\n".join(commands),
        text=True,
        check=True,
    )


def new_namespace() -> None:
    """Move this process, and whom it starts, to a network namespace of its own."""
    libc = ctypes.CDLL(None, use_errno=True)  # os.unshare is Python 3.12's
    if libc.unshare(_CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, f"no network namespace: {os.strerror(code)}")
    _ip("link set lo up")


def relay(near: int, far: int, until: int, *, delay: float, loss: float) -> None:
    """Carry packets between two devices until a third descriptor is readable."""
    other = {near: far, far: near}
    chance = random.Random(1).random  # noqa: S311  # seeded: no run is luckier
    held: deque[tuple[float, int, bytes]] = deque()  # in order: all are held equally long
    while True:
        wait = max(0.0, held[0][0] - time.monotonic()) if held else None
        readable, _, _ = select.select((near, far, until), (), (), wait)
        if until in readable:
            return
        due = time.monotonic() + delay
        for side in readable:
            with suppress(BlockingIOError):
                for _ in range(_AT_ONCE):
                    packet = os.read(side, _MOST_BYTES)
                    if not loss or chance() >= loss:
                        held.append((due, other[side], packet))
        now = time.monotonic()
        while held and held[0][0] <= now:
            _, side, packet = held.popleft()
            with suppress(OSError):  # a full queue, a packet that nobody takes
                os.write(side, packet)


def main() -> None:
    """Make the link, run the command, and end as it does."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rtt_ms", type=float, metavar="RTT_MS")
    parser.add_argument("--loss", type=float, default=0.0, metavar="PERCENT")
    parser.add_argument("--network", default=own_network(), help="by default %(default)s")
    parser.add_argument("command", nargs=argparse.PARSER, metavar="COMMAND")
    options = parser.parse_args()
    prefix = IPv4Network(options.network).prefixlen
    near_ip, far_ip = ends_of(options.network)
    try:
        near = Device()
        near.up(IPv4Interface(f"{near_ip}/{prefix}"))
        new_namespace()
        far = Device()
        far.up(IPv4Interface(f"{far_ip}/{prefix}"))
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"there is no wide-area link to be had here: {error}")
    with subprocess.Popen(options.command) as process:  # noqa: S603  # as the user says
        with suppress(PermissionError):
            os.nice(-10)  # a late packet is a longer link
        ended = os.pidfd_open(process.pid)
        with suppress(KeyboardInterrupt):  # the command has had it, too
            relay(
                near.descriptor,
                far.descriptor,
                ended,
                delay=options.rtt_ms / 2000,
                loss=options.loss / 100,
            )
    sys.exit(process.returncode)


if __name__ == "__main__":
    main()
