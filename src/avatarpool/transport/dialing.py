"""Sockets for WebSockets: to the nearest of a host's addresses, through a proxy if need be."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

import aiofastnet
import aiohappyeyeballs
import python_socks
from python_socks.async_.asyncio import Proxy as SocksProxy

from avatarpool.proxies import Proxy, ProxyFailed, authority
from avatarpool.tls import reason
from avatarpool.transport.buffers import TLS_BUFFERS, bound_unsent

# RFC 8305 recommends 250 ms between attempts at a host's addresses.
_HAPPY_EYEBALLS_DELAY = 0.25

# A proxy's answer is some hundred bytes, with a cookie or a page's headers a few thousand.
_MAX_ANSWER_BYTES = 16 * 1024


async def open_socket(
    host: str, port: int, proxy: Proxy | None, *, timeout: float
) -> socket.socket:
    """Return a socket that is connected to a host, on which nothing was said yet.

    Through a proxy, the proxy looks the host's name up. An ``https`` proxy is only
    reached: `connect_protocol` speaks TLS with it and asks for the tunnel.

    Cancelling leaves no socket behind.

    Raises:
        ProxyFailed: The proxy was not reached, refused, or answered with nonsense.
        OSError: The host was not reached.
        TimeoutError: A SOCKS proxy took longer than ``timeout`` seconds; all else
            takes as long as it does.
    """
    if proxy is None:
        return await _dial(host, port)
    if proxy.scheme == "socks5":
        return await _through_socks(host, port, proxy, timeout)
    sock = await _reach(proxy)
    if proxy.scheme == "https":
        return sock
    loop = asyncio.get_running_loop()
    try:
        await _ask_for_tunnel(
            partial(loop.sock_sendall, sock), partial(loop.sock_recv, sock), host, port, proxy
        )
    except BaseException:
        sock.close()
        raise
    return sock


async def connect_protocol(
    protocol: asyncio.BaseProtocol,
    sock: socket.socket,
    host: str,
    port: int,
    proxy: Proxy | None,
    *,
    is_secure: bool,
    ssl_context: ssl.SSLContext | None,
) -> None:
    """Connect a protocol to a host over the socket that `open_socket` gave for it.

    Args:
        protocol: It may only hear of its connection when data comes already.
        sock: The socket. Failing and cancelling may leave it open: `close_socket`.
        host: Whose certificate is expected.
        port: Of the host.
        proxy: The one that was given to `open_socket`.
        is_secure: Whether TLS is spoken with the host.
        ssl_context: For this, and for a proxy that speaks TLS.

    Raises:
        ProxyFailed: An ``https`` proxy refused, or answered with nonsense.
        OSError: The connection broke, or the certificate is not accepted.
    """
    loop = asyncio.get_running_loop()
    if proxy is None or proxy.scheme != "https":
        tls: dict[str, Any] = {}
        if is_secure:
            tls = {"ssl": ssl_context, "server_hostname": host, **TLS_BUFFERS}
        await aiofastnet.create_connection(loop, lambda: protocol, sock=sock, **tls)
        return
    assert ssl_context is not None
    transport = await _tunnel_in_tls(sock, host, port, proxy, ssl_context)
    try:
        if is_secure:
            transport = await aiofastnet.start_tls(
                loop, transport, protocol, ssl_context, server_hostname=host, **TLS_BUFFERS
            )
        else:
            transport.set_protocol(protocol)
        protocol.connection_made(transport)
    except BaseException:
        transport.abort()
        raise


def close_socket(sock: socket.socket) -> None:
    """Close a socket whose connection came to nothing; its transport, if any, is aborted.

    aiofastnet 1.2 closes it by itself, but for one whose peer hangs up as the TLS
    handshake begins: that is forgotten.
    """
    if sock.fileno() >= 0:
        loop = asyncio.get_running_loop()
        loop.remove_reader(sock)
        loop.remove_writer(sock)
        sock.close()


def _new_socket(info: aiohappyeyeballs.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = info
    sock = socket.socket(family, kind, protocol)
    bound_unsent(sock)
    return sock


async def _dial(host: str, port: int) -> socket.socket:
    try:  # an address needs no looking up, and no thread for that
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await aiohappyeyeballs.start_connection(
        infos, happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY, socket_factory=_new_socket
    )


async def _reach(proxy: Proxy) -> socket.socket:
    try:
        return await _dial(proxy.host, proxy.port)
    except OSError as error:
        raise ProxyFailed(proxy, f"could not be reached: {error}") from error


# --- HTTP ------------------------------------------------------------------------------


async def _tunnel_in_tls(
    sock: socket.socket, host: str, port: int, proxy: Proxy, context: ssl.SSLContext
) -> asyncio.Transport:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    try:
        transport, _ = await aiofastnet.create_connection(
            loop,
            lambda: asyncio.StreamReaderProtocol(reader),
            sock=sock,
            ssl=context,
            server_hostname=proxy.host,
        )
    except OSError as error:
        raise ProxyFailed(proxy, f"could not be reached: {reason(error)}") from error

    async def send(request: bytes) -> None:
        transport.write(request)

    try:
        await _ask_for_tunnel(send, reader.read, host, port, proxy)
    except BaseException:
        transport.abort()
        raise
    return transport


async def _ask_for_tunnel(
    send: Callable[[bytes], Awaitable[None]],
    receive: Callable[[int], Awaitable[bytes]],
    host: str,
    port: int,
    proxy: Proxy,
) -> None:
    target = authority(host, port)
    try:
        await send(_connect_request(target, proxy))
        answer = bytearray()
        while b"\r\n\r\n" not in answer:
            piece = await receive(4096)
            if not piece:
                raise ProxyFailed(proxy, "closed the connection without an answer")
            answer += piece
            if len(answer) > _MAX_ANSWER_BYTES:
                raise ProxyFailed(proxy, f"answered with over {_MAX_ANSWER_BYTES} bytes")
    except ProxyFailed:
        raise
    except OSError as error:
        raise ProxyFailed(proxy, f"broke the connection: {error}") from error
    status = re.match(rb"HTTP/1\.\d ([1-9]\d\d)\b", answer)
    if status is None:
        raise ProxyFailed(proxy, "did not answer as an HTTP proxy")
    if not status[1].startswith(b"2"):
        raise ProxyFailed(
            proxy,
            f"refused the way to {target} with HTTP {int(status[1])}",
            http_status=int(status[1]),
        )
    if not answer.endswith(b"\r\n\r\n"):  # the service says nothing before it is asked
        raise ProxyFailed(proxy, "did not keep to HTTP after it had opened the way")


def _connect_request(target: str, proxy: Proxy) -> bytes:
    headers = {"Host": target, **proxy.authorization}
    lines = (f"{name}: {value}\r\n" for name, value in headers.items())
    return f"CONNECT {target} HTTP/1.1\r\n{''.join(lines)}\r\n".encode()


# --- SOCKS ---------------------------------------------------------------------------------


class _FirstHop:
    """Stands for the proxy before the first in python-socks' chains: it has our sockets."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    async def connect(self, **_target: Any) -> socket.socket:
        return await _reach(self._proxy)


async def _through_socks(host: str, port: int, proxy: Proxy, timeout: float) -> socket.socket:
    socks = SocksProxy(
        python_socks.ProxyType.SOCKS5,
        proxy.host,
        proxy.port,
        proxy.username,
        proxy.password,
        rdns=True,
        forward=cast("SocksProxy", _FirstHop(proxy)),
    )
    try:
        return await socks.connect(host, port, timeout=timeout)
    except (ProxyFailed, TimeoutError):
        raise
    except (python_socks.ProxyError, OSError, ValueError) as error:
        why = f"gave no way to {authority(host, port)}: {error}"
        raise ProxyFailed(proxy, why) from error
