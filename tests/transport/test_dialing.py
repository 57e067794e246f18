"""Sockets through proxies that do what a proxy must not; real ones are in test_company_networks."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from avatarpool.proxies import Proxy, ProxyFailed
from avatarpool.transport.dialing import open_socket

OPEN = b"HTTP/1.1 200 Connection established\r\n"
REFUSED = b"HTTP/1.1 502 \x1b[31mhush\r\nContent-Type: text/html\r\n\r\n<html>hush</html>"
GREETING = b"\x05\x00"
LINGER = socket.SOL_SOCKET, socket.SO_LINGER


@dataclass
class Hostile:
    """A proxy that says what a test tells it, one piece after each that it hears."""

    proxy: Proxy
    heard: bytearray = field(default_factory=bytearray)
    is_left: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def hostile(scheme: str, *pieces: bytes, stays: bool = False) -> AsyncIterator[Hostile]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for piece in pieces:
                peer.heard += await reader.read(1000)
                writer.write(piece)
            while stays and (data := await reader.read(1000)):
                peer.heard += data
        except ConnectionError:
            pass
        finally:
            peer.is_left.set()
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        peer = Hostile(Proxy(scheme, "127.0.0.1", listening.sockets[0].getsockname()[1]))
        yield peer
        await peer.is_left.wait()


async def dial(peer: Hostile, timeout: float = 20.0) -> None:
    """Open a socket through a proxy, for a name that nobody else may look up."""
    sock = await open_socket("ingress.avatar.test", 443, peer.proxy, timeout=timeout)
    assert not sock.getblocking()
    sock.close()


async def test_the_proxy_is_asked_for_the_name():
    async with hostile("http", OPEN + b"\r\n", stays=True) as peer:
        await dial(peer)
    assert peer.heard == (
        b"CONNECT ingress.avatar.test:443 HTTP/1.1\r\nHost: ingress.avatar.test:443\r\n\r\n"
    )


async def test_an_address_of_ipv6_is_asked_for_in_brackets():
    async with hostile("http", OPEN + b"\r\n", stays=True) as peer:
        (await open_socket("2001:db8::1", 443, peer.proxy, timeout=5.0)).close()
    assert peer.heard.startswith(b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\n")


async def test_an_answer_may_come_in_pieces():
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in OPEN + b"Via: us\r\n\r\n":
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        proxy = Proxy("http", "127.0.0.1", server.sockets[0].getsockname()[1])
        (await open_socket("ingress.avatar.test", 443, proxy, timeout=5.0)).close()


@pytest.mark.parametrize(
    ("scheme", "pieces", "said"),
    [
        ("http", [b""], "closed the connection without an answer"),
        ("http", [OPEN], "closed the connection without an answer"),
        ("http", [b"SSH-2.0-nothing of the kind\r\n\r\n"], "did not answer as an HTTP proxy"),
        ("http", [b"HTTP/1.1 2\xb2\xb2 \r\n\r\n"], "did not answer as an HTTP proxy"),
        ("http", [b"HTTP/1.1 000 \r\n\r\n"], "did not answer as an HTTP proxy"),
        ("http", [OPEN + b"X: " + b"x" * 100_000], "answered with over 16384 bytes"),
        ("http", [OPEN + b"\r\nand more"], "did not keep to HTTP after it had opened the way"),
        ("http", [REFUSED], "refused the way to ingress.avatar.test:443 with HTTP 502"),
        ("socks5", [b""], "no way to ingress.avatar.test:443: Connection closed unexpectedly"),
        ("socks5", [b"HTTP/1.1 400 Bad request\r\n\r\n"], "no way to ingress.avatar.test:443"),
        ("socks5", [b"\x05\x02"], "no way to ingress.avatar.test:443"),
        ("socks5", [b"\x05\xff"], "No acceptable authentication methods"),
        ("socks5", [GREETING, b"\x05\x02\x00\x01" + bytes(6)], "not allowed by ruleset"),
        ("socks5", [GREETING, b"\x05\x63\x00\x01" + bytes(6)], "Invalid reply code"),
        ("socks5", [GREETING, b"\x05\x00\x00\x09" + bytes(6)], "no way to ingress.avatar"),
        ("socks5", [GREETING, b"\x05\x00\x00\x03\xffshort"], "no way to ingress.avatar"),
    ],
)
async def test_nonsense_is_the_proxys_fault_in_one_sentence(
    scheme: str, pieces: list[bytes], said: str
):
    async with hostile(scheme, *pieces) as peer:
        with pytest.raises(ProxyFailed) as caught:
            await dial(peer)
    sentence = str(caught.value)
    assert sentence.startswith(f"the proxy {peer.proxy} ")
    assert said in sentence
    assert sentence.isprintable()
    assert "hush" not in sentence


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_reset_is_the_proxys_fault(scheme: str):
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(*LINGER, linger)
        writer.transport.abort()

    async with await asyncio.start_server(reset, "127.0.0.1", 0) as server:
        proxy = Proxy(scheme, "127.0.0.1", server.sockets[0].getsockname()[1])
        with pytest.raises(ProxyFailed, match="reset"):
            await open_socket("ingress.avatar.test", 443, proxy, timeout=5.0)


@pytest.mark.parametrize(
    ("scheme", "pieces"), [("http", []), ("http", [OPEN]), ("socks5", []), ("socks5", [GREETING])]
)
@pytest.mark.parametrize("end", ["cancelled", "late"])
async def test_who_is_cancelled_or_late_leaves_no_socket(
    scheme: str, pieces: list[bytes], end: str
):
    async with hostile(scheme, *pieces, stays=True) as peer:
        dialing = asyncio.ensure_future(dial(peer))
        while not peer.heard:
            await asyncio.sleep(0.001)
        if end == "late":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await dialing
        else:
            await asyncio.sleep(0.02)
            dialing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dialing
        async with asyncio.timeout(20):
            await peer.is_left.wait()  # the proxy sees that its peer has hung up
