"""What may stand between clients and the upstream: the gateway, HAProxy, a bare relay, nothing."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from clients import Ports

HERE = Path(__file__).parent

# On Debian it is where users have no PATH to.
HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")

# A TCP relay as its manual has it for long-lived connections; one thread, as the others have.
_HAPROXY_CONFIG = """
global
    maxconn 5000
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h
frontend clients
    bind fd@{fd}
    default_backend upstream
backend upstream
    server one {host}:{port}
"""

_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Standing:
    """One that stands there.

    Attributes:
        ports: Where clients find it.
        pid: Its process; None: nothing stands there.
    """

    ports: Ports
    pid: int | None

    @property
    def cpu_seconds(self) -> float:
        """CPU time that its process has had."""
        if self.pid is None:
            return 0.0
        # The clock of another process, as clock_getcpuclockid(3) makes it on Linux: /proc
        # counts in hundredths of a second.
        return time.clock_gettime((~self.pid << 3) | 2)

    @property
    def resident_mb(self) -> float:
        """Its resident memory, in MB of 1000 kB."""
        if self.pid is None:
            return 0.0
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1.024 / 1000
        raise OSError("no Rss in smaps_rollup")


@asynccontextmanager
async def standing(kind: str, ports: Ports, *, sessions: int = 10) -> AsyncIterator[Standing]:
    """Start one, on the event loop that this process has.

    Args:
        kind: ``ours``, ``haproxy``, ``relay``, or ``direct``: nothing.
        ports: The upstream's.
        sessions: That the gateway may have upstream.
    """
    is_uvloop = type(asyncio.get_running_loop()).__module__.startswith("uvloop")
    loop = "uvloop" if is_uvloop else "asyncio"
    match kind:
        case "ours":
            script = str(HERE / "gateway_process.py")
            async with _script(script, loop, json.dumps(asdict(ports)), str(sessions)) as (pid, at):
                yield Standing(Ports(**json.loads(at)), pid)
        case "haproxy":
            async with _haproxy(ports) as found:
                yield found
        case "relay":
            script = str(HERE / "picows_relay.py")
            async with _script(script, loop, str(ports.ingress)) as (pid, at):
                yield Standing(replace(ports, ingress=json.loads(at)), pid)
        case _:
            yield Standing(ports, None)


@asynccontextmanager
async def _script(*arguments: str) -> AsyncIterator[tuple[int, bytes]]:
    """Run one of our scripts; it says where it listens, and ends when its standard input does."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_PATIENCE):
            line = await process.stdout.readline()
        if not line:
            raise OSError(f"{arguments[0]} failed: its error is above")
        yield process.pid, line
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(_PATIENCE):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def _haproxy(ports: Ports) -> AsyncIterator[Standing]:
    """Run HAProxy on a socket of ours, which listens before it does."""
    if HAPROXY is None:
        raise FileNotFoundError("haproxy is not installed: apt-get install haproxy")
    with socket.socket() as sock, tempfile.TemporaryDirectory() as folder:
        sock.bind(("127.0.0.1", 0))
        sock.listen(4096)
        config = Path(folder) / "haproxy.cfg"
        config.write_text(
            _HAPROXY_CONFIG.format(fd=sock.fileno(), host=ports.host, port=ports.ingress),
            encoding="utf-8",
        )
        process = await asyncio.create_subprocess_exec(
            *(HAPROXY, "-db", "-q", "-f", str(config)), pass_fds=(sock.fileno(),)
        )
        try:
            yield Standing(replace(ports, ingress=sock.getsockname()[1]), process.pid)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
