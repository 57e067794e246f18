"""The ingress: who may upgrade, and the sessions of those who did."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Collection

from aiohttp import web

from avatarpool.service import refusals
from avatarpool.service.accounts import Account, Accounts
from avatarpool.service.faults import Step
from avatarpool.service.refusals import UpgradeRefusal
from avatarpool.service.sabotage import Sabotage, until_gone
from avatarpool.service.session import ServedSession, Workshop
from avatarpool.service.tokens import (
    Token,
    TokenExpired,
    TokenInvalid,
    TokenOffice,
    TokenRefused,
    TokensExhausted,
)

logger = logging.getLogger("avatarpool.service")

ROUTE = "/v2/driveningress/websocket"


class Ingress:
    """Admits connections and keeps their sessions.

    Args:
        accounts: Whose sessions may be opened.
        tokens: Redeems their tokens.
        avatar_ids: The avatars there are.
        workshop: What all sessions share.
    """

    def __init__(
        self,
        accounts: Accounts,
        tokens: TokenOffice,
        avatar_ids: Collection[str],
        workshop: Workshop,
    ) -> None:
        self._accounts = accounts
        self._tokens = tokens
        self._avatar_ids = frozenset(avatar_ids)
        self._workshop = workshop
        self._sessions: set[ServedSession] = set()
        self._is_closing = False

    def __repr__(self) -> str:
        return f"<Ingress {len(self._sessions)} sessions>"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection, from its upgrade to its end."""
        counters = self._workshop.counters
        limits = self._workshop.limits
        sabotage = Sabotage(self._workshop.faults)
        fault = sabotage.fault
        if fault is not None:
            delay = math.inf if fault.stalls_at is Step.UPGRADE else fault.delay
            await until_gone(request, delay, lambda: self._is_closing)
            if fault.upgrade_status is not None:
                return _refused(refusals.upgrade_fault(fault.upgrade_status))
            if request.transport is None:
                return web.Response()  # which nobody reads
        socket = web.WebSocketResponse(
            timeout=limits.close_timeout,
            compress=False,
            autoping=False,  # the session answers, and gives way in between
            autoclose=False,  # likewise, unless it is told not to
            max_msg_size=limits.max_message_bytes + 1,  # aiohttp refuses what is as large as that
            writer_limit=0,  # no message leaves while a peer leaves too many unread
        )
        admitted = self._admit(request, can_upgrade=bool(socket.can_prepare(request)))
        if isinstance(admitted, UpgradeRefusal):
            counters.upgrades_refused += 1
            logger.info("upgrade refused: %d %r", admitted.status, admitted.message)
            return _refused(admitted)
        try:
            return await self._serve(request, socket, admitted, sabotage)
        finally:
            admitted.leave()

    async def _serve(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        account: Account,
        sabotage: Sabotage,
    ) -> web.StreamResponse:
        counters = self._workshop.counters
        try:
            await socket.prepare(request)
        except ConnectionError:  # gone already, so nobody hears this
            return web.Response()
        transport = request.transport
        assert transport is not None
        avatar_id = request.query["id"]
        session = ServedSession(
            socket, transport, account, avatar_id, self._workshop, sabotage=sabotage
        )
        self._sessions.add(session)
        if self._is_closing:  # since it was admitted
            session.end(refusals.SERVICE_CLOSED)
        counters.connections_open += 1
        counters.connections_total += 1
        try:
            await session.run()
        finally:
            counters.connections_open -= 1
            self._sessions.discard(session)
        return socket

    async def close(self) -> None:
        """End every session; returns once they have ended, or had their time."""
        self._is_closing = True
        sessions = list(self._sessions)
        for session in sessions:
            session.end(refusals.SERVICE_CLOSED)
        try:
            async with asyncio.timeout(2 * self._workshop.limits.close_timeout):
                for session in sessions:
                    await session.is_closed.wait()
        except TimeoutError:
            logger.warning("%d sessions did not end in time", len(self._sessions))

    def _admit(self, request: web.Request, *, can_upgrade: bool) -> Account | UpgradeRefusal:
        if self._is_closing:
            return refusals.CLOSING
        if not can_upgrade:
            return refusals.NO_UPGRADE
        # Either place: headers by default, the query for browsers.
        token_text = request.headers.get("X-Session-Key") or request.query.get("sessionKey", "")
        app_id = request.headers.get("X-App-ID") or request.query.get("appId", "")
        try:
            token = self._tokens.redeem(token_text)
        except TokenRefused as refusal:
            return UpgradeRefusal(_STATUS[type(refusal)], str(refusal))
        return self._entitled(token, app_id, request.query.get("id", ""))

    def _entitled(self, token: Token, app_id: str, avatar_id: str) -> Account | UpgradeRefusal:
        account = self._accounts.by_app_id(app_id)
        if account is None:
            return refusals.APP_UNKNOWN
        if token.app_id != app_id:
            return refusals.APP_MISMATCH
        if avatar_id not in self._avatar_ids:
            return refusals.avatar_unknown(avatar_id)
        if not account.has_credits:
            return refusals.BILLING
        return account if account.admit() else refusals.TOO_MANY_HANDSHAKES


# What a 426 must name (RFC 9110, 15.5.22, and RFC 6455, 4.4).
_UPGRADE_TO = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}

_STATUS: dict[type[TokenRefused], int] = {
    TokenInvalid: 400,
    TokenExpired: 401,
    TokensExhausted: 503,
}


def _refused(refusal: UpgradeRefusal) -> web.Response:
    body = json.dumps({"message": refusal.message}, separators=(",", ":")) + "\n"
    return web.Response(
        status=refusal.status,
        text=body,
        content_type="application/json",
        headers=_UPGRADE_TO if refusal is refusals.NO_UPGRADE else None,
    )
