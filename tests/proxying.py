"""Debian's proxies, and a service beyond them whose names they alone can resolve.

Loopback is never proxied, so that the service needs names that are none of this machine's.
libnss-wrapper gives the proxies a hosts file of their own; everybody else would ask DNS,
where the top-level domain ``test`` never is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from avatarpool.service import LocalAvatarService

CONSOLE, INGRESS = "console.avatar.test", "ingress.avatar.test"
USERNAME, PASSWORD = "hush-me", "hush-word"

_TINYPROXY = """\
Port {port}
Listen 127.0.0.1
Timeout 60
LogLevel Critical
"""


def _missing() -> str:
    missing = [name for name in ("tinyproxy", "microsocks") if shutil.which(name) is None]
    if _nss_wrapper() is None:
        missing.append("libnss-wrapper")
    return " ".join(missing)


def _nss_wrapper() -> Path | None:
    return next(Path("/usr/lib").glob("*/libnss_wrapper.so"), None)


@contextmanager
def _running(directory: Path, *command: str | int, port: int) -> Iterator[None]:
    """Run a proxy until the block ends; it is there when the block begins."""
    hosts = directory / "hosts"
    hosts.write_text(f"127.0.0.1 {CONSOLE} {INGRESS}\n")
    process = subprocess.Popen(  # noqa: S603  # Debian's own
        [*map(str, command)],
        env={**os.environ, "LD_PRELOAD": str(_nss_wrapper()), "NSS_WRAPPER_HOSTS": str(hosts)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None, f"{command[0]} has ended"
                assert time.monotonic() < deadline, f"{command[0]} does not listen"
                time.sleep(0.01)
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def free_port() -> Iterator[int]:
    """Give a port on which nobody listens, and that nobody is given meanwhile.

    It is bound here. Who asks for it by its number may listen there all the same.
    """
    with socket.socket() as holding:
        holding.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holding.bind(("127.0.0.1", 0))
        yield holding.getsockname()[1]


@contextmanager
def real_proxy(kind: str, directory: Path) -> Iterator[str]:
    """Run ``http``, ``socks5``, or one ``with a password``; give its URL without one.

    ``http for 443`` refuses every other port, as many companies' do.
    """
    if missing := _missing():
        sentence = f"no proxies to test with (on Debian: apt-get install {missing})"
        (pytest.fail if os.environ.get("REQUIRE_PROXIES") else pytest.skip)(sentence)
    has_password = kind.endswith("with a password")
    with free_port() as port:
        if kind.startswith("http"):
            text = _TINYPROXY.format(port=port)
            text += f"BasicAuth {USERNAME} {PASSWORD}\n" if has_password else ""
            text += "ConnectPort 443\n" if kind == "http for 443" else ""
            file = directory / "tinyproxy.conf"
            file.write_text(text)
            with _running(directory, "tinyproxy", "-d", "-c", str(file), port=port):
                yield f"http://127.0.0.1:{port}"
        else:
            credentials = ("-u", USERNAME, "-P", PASSWORD) if has_password else ()
            command = ("microsocks", "-i", "127.0.0.1", "-p", port, *credentials)
            with _running(directory, *command, port=port):
                yield f"socks5://127.0.0.1:{port}"


def with_password(url: str, password: str = PASSWORD) -> str:
    """Put the credentials into a proxy's URL."""
    return url.replace("://", f"://{USERNAME}:{password}@")


# --- TLS ----------------------------------------------------------------------------------


class Authority:
    """A certificate authority that only those know whom a test tells of it."""

    def __init__(self, directory: Path) -> None:
        self.ca = trustme.CA()
        self.file = directory / "authority.pem"
        self.ca.cert_pem.write_to_path(self.file)

    def trusting(self) -> ssl.SSLContext:
        """Return a client's context."""
        return ssl.create_default_context(cafile=str(self.file))

    def serving(self, *names: str, **options: object) -> ssl.SSLContext:
        """Return a server's context with a certificate for these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names, **options).configure_cert(context)  # type: ignore[arg-type]
        return context


@asynccontextmanager
async def tls_in_front_of(port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Listen with TLS, and pass on in plain text what comes."""
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, downstream = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(pump(reader, downstream), pump(upstream, writer))
        finally:
            writer.transport.abort()
            downstream.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async with await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def named(service: LocalAvatarService, port: int, *, tls: bool = True) -> dict[str, str]:
    """Return the service's two endpoints under the names that the proxies know."""
    suffix = "s" if tls else ""
    return {
        "console_endpoint_url": f"http{suffix}://{CONSOLE}:{port}{_path(service.console_url)}",
        "ingress_endpoint_url": f"ws{suffix}://{INGRESS}:{port}{_path(service.ingress_url)}",
    }


def port_of(url: str) -> int:
    """Return the port that a URL names."""
    return urlsplit(url).port or 0


def _path(url: str) -> str:
    return urlsplit(url).path
