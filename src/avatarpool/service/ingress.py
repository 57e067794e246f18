"""The ingress: upgrades, and the sessions of those who were admitted."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable

from aiohttp import web

from avatarpool.endpoint import http, refusals
from avatarpool.endpoint.accounts import Account
from avatarpool.endpoint.admission import Admission, Credentials
from avatarpool.endpoint.conversation import Conversation
from avatarpool.endpoint.holding import end_greediest
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.endpoint.listening import Connection, Parser
from avatarpool.endpoint.reading import Reading, Turns
from avatarpool.endpoint.refusals import UpgradeRefusal
from avatarpool.endpoint.roster import Roster
from avatarpool.endpoint.scanner import FrameScanner
from avatarpool.endpoint.socket import ServerSocket
from avatarpool.service import opus
from avatarpool.service.session import ServedSession, Workshop

log = logging.getLogger("avatarpool.service")

NewSocket = Callable[
    [web.WebSocketResponse, asyncio.Transport, Reading, str, ServiceLimits],
    ServerSocket,
]


class Ingress:
    """Serves the connections of those who are admitted.

    Args:
        admission: Decides who is.
        workshop: What all sessions share.

    Attributes:
        roster: The conversations.
    """

    def __init__(self, admission: Admission[Account], workshop: Workshop) -> None:
        self.roster = Roster()
        self._admission = admission
        self._workshop = workshop
        self._sessions: set[ServedSession] = set()
        self._turns = Turns()

    def __repr__(self) -> str:
        return f"<Ingress {len(self._sessions)} sessions>"

    async def handle(
        self, request: web.Request, new_socket: NewSocket = ServerSocket
    ) -> web.StreamResponse:
        """Serve one connection, from its upgrade to its end."""
        limits = self._workshop.limits
        socket = web.WebSocketResponse(
            timeout=limits.close_timeout,
            compress=False,
            autoping=False,  # the session answers, and gives way in between
            autoclose=False,  # likewise, unless it is told not to
            max_msg_size=limits.max_message_bytes + 1,  # aiohttp refuses what is as large as that
            writer_limit=0,  # no message leaves while a peer leaves too many unread
        )
        can_upgrade = bool(socket.can_prepare(request))
        credentials = Credentials.of(request.headers, request.query, can_upgrade=can_upgrade)
        admitted = self._admission.admit(credentials)
        if isinstance(admitted, UpgradeRefusal):
            log.info("upgrade refused: %d %r", admitted.status, admitted.message)
            return http.upgrade_refused(admitted)
        try:
            try:
                await socket.prepare(request)
            except ConnectionError:  # gone already, so nobody hears this
                return web.Response()
            transport, connection = request.transport, request.protocol
            assert transport is not None
            assert isinstance(connection, Connection)
            assert isinstance(connection.reading, Reading)
            name = f"local-{secrets.token_hex(8)}"
            served = new_socket(socket, transport, connection.reading, name, limits)
            await self._serve(served, admitted, credentials.avatar_id)
        finally:
            admitted.leave()
        return socket

    async def _serve(self, socket: ServerSocket, account: Account, avatar_id: str) -> None:
        conversation = Conversation(
            socket.name,
            avatar_id,
            account,
            self._workshop.limits,
            takes_opus=opus.is_available(),
            now=asyncio.get_running_loop().time(),
        )
        session = ServedSession(socket, conversation, account, self._workshop)
        self._sessions.add(session)
        if self._admission.is_closing:  # since it was admitted
            session.end(refusals.SERVICE_CLOSED)
        self.roster.join(conversation)
        try:
            await session.run()
        finally:
            self.roster.leave(conversation)
            self._sessions.discard(session)

    def reading(self, connection: Connection, parser: Parser) -> Reading:
        """Make what stands before aiohttp's parser of a connection."""
        return Reading(
            parser,
            FrameScanner(self._workshop.limits.max_configuration_bytes),
            self._turns,
            connection=connection,
            grown=self.bound_memory,
        )

    def bound_memory(self) -> None:
        """End the sessions that hold the most, if all together hold too much."""
        end_greediest(self._sessions, self._workshop.limits.max_total_buffered_bytes)

    async def close(self) -> None:
        """End every session; returns once they have ended, or had their time."""
        sessions = list(self._sessions)
        for session in sessions:
            session.end(refusals.SERVICE_CLOSED)
        try:
            async with asyncio.timeout(2 * self._workshop.limits.close_timeout):
                for session in sessions:
                    await session.is_closed.wait()
        except TimeoutError:
            log.warning("%d sessions did not end in time", len(self._sessions))
