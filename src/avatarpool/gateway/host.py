"""``GET /v1/host``: host-mode clients, over the demo server's WebSocket protocol.

First a text, ``{"action": "start", "avatar_id": ..., "sample_rate": ...}``, then binary messages
both ways: a byte for the type, one for flags (bit 0: the last), the payload.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable

from aiohttp import web

from avatarpool.blendshapes import Basis
from avatarpool.endpoint import refusals
from avatarpool.endpoint.holding import end_greediest
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.endpoint.listening import Connection, Parser
from avatarpool.endpoint.reading import Reading, Turns
from avatarpool.endpoint.scanner import FrameScanner
from avatarpool.endpoint.socket import ServerSocket
from avatarpool.gateway import failures, host_messages, problems, records
from avatarpool.gateway.authentication import SUBPROTOCOL, Authentication
from avatarpool.gateway.clients import Client
from avatarpool.gateway.exchange import Exchange
from avatarpool.gateway.host_connection import HostConnection
from avatarpool.gateway.problems import Refused
from avatarpool.transport import buffers

log = logging.getLogger("avatarpool.gateway")

ROUTE = "/v1/host"


class Host:
    """Serves host-mode clients.

    Args:
        exchange: Serves their speeches.
        authentication: Who they are.
        limits: What is allowed to each.
        default_avatar: The avatar of a client that names none; empty: it must.
        basis: Whose expression coefficients the service's are, if that is known.

    Attributes:
        connections: Those that are open.
    """

    def __init__(
        self,
        exchange: Exchange,
        authentication: Authentication,
        limits: ServiceLimits,
        default_avatar: Callable[[Client], str],
        basis: Basis | None = None,
    ) -> None:
        self._basis = basis
        self.connections: set[HostConnection] = set()
        self.is_closing = False
        self._exchange = exchange
        self._authentication = authentication
        self._limits = limits
        self._default_avatar = default_avatar
        self._turns = Turns()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection, from its upgrade to its end.

        Raises:
            Refused: It gets none.
        """
        client = self._authentication.client(request, is_page=True)
        frames = request.query.get("frames", records.MESSAGE)
        if frames not in records.FRAMES:
            known = " or ".join(records.FRAMES)
            raise problems.refused("invalidRequest", 400, f"frames may be {known}")
        limits = self._limits
        socket = web.WebSocketResponse(
            timeout=limits.close_timeout,
            protocols=(SUBPROTOCOL,),
            compress=False,
            autoping=False,
            autoclose=False,
            max_msg_size=limits.max_message_bytes + 1,
            writer_limit=0,
        )
        if not _may_choose(request):
            why = f"of the subprotocols that are offered, one must be {SUBPROTOCOL}"
            raise problems.refused("invalidRequest", 400, why)
        if not socket.can_prepare(request):
            raise problems.refused("upgradeRequired", 426, "this is a WebSocket endpoint")
        if self.is_closing:
            raise Refused(failures.CLOSING)
        if not client.admit():
            raise problems.refused("busy", 503, refusals.TOO_MANY_HANDSHAKES.message, 1.0)
        try:
            await socket.prepare(request)
            await self._serve(request, socket, client, frames)
        except ConnectionError:  # gone already, so nobody hears this
            return web.Response()
        finally:
            client.leave()
        return socket

    async def _serve(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        client: Client,
        frames: str,
    ) -> None:
        transport, connection = request.transport, request.protocol
        assert isinstance(connection, Connection)
        if transport is None:
            raise ConnectionResetError
        assert isinstance(connection.reading, Reading)
        buffers.bound_unsent(transport.get_extra_info("socket"))
        name = f"gateway-{secrets.token_hex(8)}"
        wire = ServerSocket(socket, transport, connection.reading, name, self._limits)
        held = HostConnection(
            wire,
            client,
            self._exchange,
            self._limits,
            default_avatar=self._default_avatar(client),
            frames=host_messages.told_as(frames, self._basis),
        )
        self.connections.add(held)
        try:
            await held.run()
        finally:
            self.connections.discard(held)

    def reading(self, connection: Connection, parser: Parser) -> Reading:
        """Make what stands before aiohttp's parser of a connection."""
        return Reading(
            parser,
            FrameScanner(self._limits.max_configuration_bytes),
            self._turns,
            connection=connection,
            grown=self.bound_memory,
        )

    def bound_memory(self) -> None:
        """End the connections that hold the most, if all together hold too much."""
        end_greediest(self.connections, self._limits.max_total_buffered_bytes)

    async def close(self) -> None:
        """End every connection; returns once they have ended, or had their time."""
        self.is_closing = True
        connections = list(self.connections)
        for each in connections:
            each.end(refusals.SERVICE_CLOSED)
        try:
            async with asyncio.timeout(2 * self._limits.close_timeout):
                for each in connections:
                    await each.is_closed.wait()
        except TimeoutError:
            log.warning("%d host connections did not end in time", len(self.connections))


def _may_choose(request: web.Request) -> bool:
    """Whether ours is among the subprotocols that are offered, if any are.

    Where it is not, aiohttp would log all of them, and a key may be one. It reads the first
    header alone.
    """
    offered = request.headers.get("Sec-WebSocket-Protocol")
    return offered is None or SUBPROTOCOL in [each.strip() for each in offered.split(",")]
