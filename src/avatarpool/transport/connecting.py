"""Opening a WebSocket: to the host, through a proxy if need be, up to the answered upgrade."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence

from picows.url import parse_url

from avatarpool.exceptions import AvatarSDKError, AvatarSDKErrorCode
from avatarpool.protocol.refusals import upgrade_refused
from avatarpool.proxies import Proxy, ProxyFailed
from avatarpool.tls import default_context, reason
from avatarpool.transport import buffers
from avatarpool.transport.dialing import close_socket, connect_protocol, open_socket
from avatarpool.transport.picows_protocol import client_protocol
from avatarpool.transport.upgrade import Upgrade, UpgradeFailed
from avatarpool.transport.websocket import MessageHandler, WebSocket
from avatarpool.untrusted import body_without


async def connect(
    url: str,
    handler: MessageHandler,
    *,
    headers: Mapping[str, str],
    secret: str,
    timeout: float,
    max_message_bytes: int,
    ping_interval: float | None,
    ping_timeout: float,
    proxy: Proxy | None = None,
    ssl_context: ssl.SSLContext | None = None,
    more_secrets: Sequence[str] = (),
) -> WebSocket:
    """Open a WebSocket within ``timeout`` seconds; TLS certificates are verified.

    The seconds include the way through the ``proxy``. Cancelling leaves no socket
    behind. Where a refusal repeats the ``secret`` of the headers or the URL, it is
    hidden; in its body ``more_secrets`` are, too.

    Raises:
        AvatarSDKError: The peer refused the upgrade, or it or the proxy could not
            be reached (phase ``websocket_connect``).
    """
    websocket = WebSocket(
        handler,
        max_message_bytes=max_message_bytes,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
    )
    target = parse_url(url)
    protocol = client_protocol(
        websocket,
        target,
        headers,
        max_frame_bytes=max_message_bytes,
        frame_broken=websocket.frame_broken,
    )
    upgrade = Upgrade(protocol, secret)
    if ssl_context is None and (target.is_secure or (proxy and proxy.scheme == "https")):
        ssl_context = default_context()
        buffers.bypass_tls_buffers(ssl_context)
    way = f" through the proxy {proxy}" if proxy else ""
    sock: socket.socket | None = None
    is_open = False
    try:
        async with asyncio.timeout(timeout):
            sock = await open_socket(target.host, target.port, proxy, timeout=timeout)
            await connect_protocol(
                upgrade,
                sock,
                target.host,
                target.port,
                proxy,
                is_secure=target.is_secure,
                ssl_context=ssl_context,
            )
            await upgrade.wait_answered()
            is_open = True
    except UpgradeFailed as failed:
        raise _upgrade_failed(failed, [secret, *more_secrets]) from None
    except ProxyFailed as error:
        raise _unreachable(str(error), proxy, error.http_status) from error
    except TimeoutError as error:
        if upgrade.refusal is not None:
            raise _upgrade_failed(upgrade.refusal, [secret, *more_secrets]) from None
        late = f"no WebSocket connection within {timeout:.2f} s{way}"
        raise _unreachable(late, proxy if sock is None else None) from error
    except OSError as error:
        raise _unreachable(f"the ingress could not be reached{way}: {reason(error)}") from error
    finally:
        if not is_open:
            upgrade.abort()
            if sock is not None:
                close_socket(sock)
    return websocket


def _upgrade_failed(failed: UpgradeFailed, secrets: Sequence[str]) -> AvatarSDKError:
    if failed.status is None:
        return _unreachable(str(failed))
    if failed.status != 101:
        body = body_without(failed.body.decode(errors="replace"), secrets)
        return upgrade_refused(failed.status, body)
    return AvatarSDKError(
        AvatarSDKErrorCode.protocolError,
        str(failed),
        phase="websocket_connect",
        http_status=101,
    )


def _unreachable(
    message: str, proxy: Proxy | None = None, http_status: int | None = None
) -> AvatarSDKError:
    return AvatarSDKError(
        AvatarSDKErrorCode.connectionFailed,
        message,
        phase="websocket_connect",
        http_status=http_status,
        proxy=str(proxy) if proxy else None,
    )
