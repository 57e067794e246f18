"""WebSockets through proxies that speak TLS themselves, good ones and others."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from proxying import Authority, tls_in_front_of
from raw_frames import BINARY, HEAD_END, Frame, RawPeer, byte_by_byte, close
from raw_server import SWITCHING, Notes, answering

from avatarpool import AvatarSDKError, AvatarSDKErrorCode
from avatarpool.proxies import Proxy
from avatarpool.transport.connecting import connect
from avatarpool.transport.websocket import Ended, WebSocket

OPEN = b"HTTP/1.1 200 Connection established\r\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def open_through(
    proxy: Proxy | None, url: str, notes: Notes, context: ssl.SSLContext, *, timeout: float = 20.0
) -> WebSocket:
    return await connect(
        url,
        notes,
        headers={},
        secret="hush",
        timeout=timeout,
        max_message_bytes=1000,
        ping_interval=None,
        ping_timeout=1.0,
        proxy=proxy,
        ssl_context=context,
    )


@asynccontextmanager
async def tls_proxy(authority: Authority, port: int) -> AsyncIterator[Proxy]:
    """A proxy that leads to a port of this machine, whatever it is asked for."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(HEAD_END)
        there = await asyncio.open_connection("127.0.0.1", port)
        writer.write(OPEN + b"\r\n")
        try:
            await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()
            there[1].transport.abort()

    tls = authority.serving("127.0.0.1")
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
        yield Proxy("https", "127.0.0.1", server.sockets[0].getsockname()[1])


async def talk(peer: RawPeer, websocket: WebSocket, notes: Notes) -> None:
    """Say something both ways."""
    websocket.write(b"there")
    await peer.until(lambda: peer.frames)
    assert peer.frames == [Frame(BINARY, b"there")]
    await peer.say(byte_by_byte(Frame(BINARY, b"here").encode(by_client=False)))
    await peer.say([close(1000).encode(by_client=False)])
    assert await notes.ended == Ended(1000)
    assert notes.messages == [b"with the answer", b"here"]


ANSWER = SWITCHING.replace("\n", "\r\n").encode()
ANSWER += Frame(BINARY, b"with the answer").encode(by_client=False)


@pytest.mark.parametrize("through", ["nothing", "a proxy"])
@pytest.mark.parametrize("is_secure", [True, False])
async def test_an_upgrade_is_taken_on_every_way(
    authority: Authority, *, is_secure: bool, through: str
):
    tls = authority.serving("localhost")
    async with answering(ANSWER) as (peer, plain):
        port = int(plain.split(":")[2].split("/")[0])
        async with tls_in_front_of(port, tls) as tls_port, tls_proxy(authority, port) as ws_proxy:
            async with tls_proxy(authority, tls_port) as wss_proxy:
                url = f"wss://localhost:{tls_port}/a" if is_secure else f"ws://localhost:{port}/a"
                proxy = wss_proxy if is_secure else ws_proxy
                notes = Notes()
                websocket = await open_through(
                    proxy if through == "a proxy" else None, url, notes, authority.trusting()
                )
                await talk(peer, websocket, notes)


@asynccontextmanager
async def scripted(
    authority: Authority, pieces: Sequence[bytes], *, stays: bool
) -> AsyncIterator[tuple[Proxy, asyncio.Event, bytearray]]:
    """A proxy that says a piece for each that it hears; when it is left; what it has heard."""
    is_left, heard = asyncio.Event(), bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for piece in pieces:
                heard.extend(await reader.read(1000))
                writer.write(piece)
            while stays and (data := await reader.read(1000)):
                heard.extend(data)
        except ConnectionError:
            pass
        finally:
            is_left.set()
            writer.close()

    tls = authority.serving("127.0.0.1")
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
        port = server.sockets[0].getsockname()[1]
        yield Proxy("https", "127.0.0.1", port, "me", "hush"), is_left, heard
        async with asyncio.timeout(20):
            await is_left.wait()


@pytest.mark.parametrize("url", ["ws://x.avatar.test/", "wss://x.avatar.test/"])
@pytest.mark.parametrize(
    ("piece", "said", "status"),
    [
        (b"", "closed the connection without an answer", None),
        (OPEN, "closed the connection without an answer", None),
        (b"SSH-2.0-nothing of the kind\r\n\r\n", "did not answer as an HTTP proxy", None),
        (OPEN + b"X: " + b"x" * 100_000, "answered with over 16384 bytes", None),
        (OPEN + b"\r\nand more", "did not keep to HTTP after it had opened the way", None),
        (b"HTTP/1.1 407 hush\r\n\r\n", "refused the way to x.avatar.test:", 407),
    ],
)
async def test_nonsense_is_the_proxys_fault_in_one_sentence(
    authority: Authority, url: str, piece: bytes, said: str, status: int | None
):
    async with scripted(authority, [piece], stays=False) as (proxy, _, heard):
        with pytest.raises(AvatarSDKError) as caught:
            await open_through(proxy, url, Notes(), authority.trusting())
    error = caught.value
    assert error.message.startswith(f"the proxy {proxy} {said}")
    assert (error.code, error.proxy) == (AvatarSDKErrorCode.connectionFailed, str(proxy))
    assert error.http_status == status
    assert "hush" not in f"{error} {vars(error)}"
    assert heard.startswith(b"CONNECT x.avatar.test:")
    assert b"Proxy-Authorization: Basic " in heard


async def test_a_proxy_whose_certificate_is_not_accepted_is_to_blame(authority: Authority):
    async with tls_proxy(authority, 1) as proxy:
        with pytest.raises(AvatarSDKError, match="certificate") as caught:
            await open_through(proxy, "ws://localhost/", Notes(), ssl.create_default_context())
    assert caught.value.message.startswith(f"the proxy {proxy} could not be reached: its cert")
    assert caught.value.proxy == str(proxy)


@pytest.mark.parametrize("url", ["ws://x.avatar.test/", "wss://x.avatar.test/"])
@pytest.mark.parametrize("pieces", [[], [OPEN], [OPEN + b"\r\n"]])
@pytest.mark.parametrize("end", ["cancelled", "late"])
async def test_who_is_cancelled_or_late_leaves_no_socket(
    authority: Authority, url: str, pieces: list[bytes], end: str
):
    async with scripted(authority, pieces, stays=True) as (proxy, is_left, heard):
        timeout = 1.0 if end == "late" else 20.0  # the former for a handshake of TLS
        opening = asyncio.ensure_future(
            open_through(proxy, url, Notes(), authority.trusting(), timeout=timeout)
        )
        if end == "late":
            with pytest.raises(AvatarSDKError, match=r"within 1\.00 s through the proxy"):
                await opening
        else:
            while not heard:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
        async with asyncio.timeout(20):
            await is_left.wait()


async def test_who_is_cancelled_before_the_proxy_speaks_leaves_no_socket():
    is_left = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)  # of the greeting
        began.set()
        while await reader.read(1000):
            pass
        is_left.set()
        writer.close()

    began = asyncio.Event()
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        proxy = Proxy("https", "127.0.0.1", server.sockets[0].getsockname()[1])
        context = ssl.create_default_context()
        opening = asyncio.ensure_future(open_through(proxy, "ws://x/", Notes(), context))
        await began.wait()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        async with asyncio.timeout(20):
            await is_left.wait()
