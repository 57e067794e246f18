"""The ingress: the official clients' WebSockets, by picows."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import ssl
from collections import Counter

import aiofastnet

from avatarpool.endpoint import http, refusals
from avatarpool.endpoint.accepting import HANDSHAKES_SHARE, Accepting
from avatarpool.endpoint.admission import Admission, Credentials
from avatarpool.endpoint.conversation import Conversation
from avatarpool.endpoint.crowd import Crowd
from avatarpool.endpoint.holding import end_greediest
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.endpoint.reading import Turns
from avatarpool.endpoint.refusals import UpgradeRefusal
from avatarpool.endpoint.roster import Roster
from avatarpool.gateway.clients import Client
from avatarpool.gateway.downstream import Downstream
from avatarpool.gateway.exchange import Exchange
from avatarpool.gateway.forwarding import Forwarding
from avatarpool.gateway.heads import RequestHead
from avatarpool.gateway.opening import Opening
from avatarpool.gateway.origins import Origins

log = logging.getLogger("avatarpool.gateway")

_NOT_FOUND = UpgradeRefusal(404, "there is nothing here: connect to /v2/driveningress/websocket")
_FOREIGN = UpgradeRefusal(
    403, "this host or origin is none of the gateway's: see public_ingress and allowed_origins"
)


class Ingress:
    """Serves the connections of those who are admitted.

    Args:
        admission: Decides who is.
        exchange: Serves their requests.
        limits: What is allowed to each.
        share: Of the process's files, where there are other listeners.

    Attributes:
        roster: The conversations.
        limits: What is allowed to each.
        origins: Whose pages may connect.
        forwarding: Who is believed in whom they forward for.
        refused: Upgrades, by HTTP status.
    """

    def __init__(
        self,
        admission: Admission[Client],
        exchange: Exchange,
        limits: ServiceLimits,
        *,
        share: float = 1.0,
    ) -> None:
        self.roster = Roster()
        self.limits = limits
        self.origins = Origins("", (), ())
        self.forwarding = Forwarding(())
        self.refused: Counter[int] = Counter()
        self._admission = admission
        self._exchange = exchange
        self._downstreams: set[Downstream] = set()
        self._crowd = Crowd(limits.max_sockets, share * (1 - HANDSHAKES_SHARE))
        handshakes = Crowd(limits.max_sockets, share * HANDSHAKES_SHARE)
        self._accepting = Accepting(self._connect, handshakes)
        self._tls: ssl.SSLContext | None = None
        self._turns = Turns()
        self._nobody = asyncio.Event()  # while there is no connection
        self._nobody.set()

    def __repr__(self) -> str:
        return f"<Ingress {len(self._downstreams)} connections>"

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None) -> tuple[str, int]:
        """Listen; return the address itself.

        Raises:
            OSError: It cannot be listened on.
        """
        self._tls = tls
        return await self._accepting.start(host, port)

    async def _connect(self, accepted: socket.socket) -> None:
        await aiofastnet.connect_accepted_socket(
            asyncio.get_running_loop(),
            self._opening,
            accepted,
            ssl=self._tls,
            ssl_handshake_timeout=self.limits.handshake_timeout if self._tls else None,
        )

    def stop(self) -> None:
        """Listen no more."""
        self._accepting.stop()

    async def close(self) -> None:
        """End every session; returns once they have ended, or had their time."""
        await self._accepting.close()
        for downstream in list(self._downstreams):
            downstream.end(refusals.SERVICE_CLOSED)
        try:
            async with asyncio.timeout(2 * self.limits.close_timeout):
                await self._nobody.wait()
        except TimeoutError:
            log.warning("%d sessions did not end in time", len(self._downstreams))
        finally:
            self.cut()

    def cut(self) -> None:
        """End every connection without a word, those too that are no sessions yet."""
        self.stop()
        self._crowd.cut()

    # --- upgrades -------------------------------------------------------------------------

    def _opening(self) -> Opening:
        return Opening(
            self._admitted,
            self._note_refusal,
            self._crowd,
            timeout=self.limits.http_idle_timeout,
            max_first_bytes=self.limits.max_configuration_bytes,
            turns=self._turns,
        )

    def _note_refusal(self, refusal: UpgradeRefusal, peer: str, forwarded_for: str) -> None:
        self.refused[refusal.status] += 1
        address = self.forwarding.client(peer, forwarded_for)
        log.info("upgrade of %s refused: %d %r", address, refusal.status, refusal.message)

    def _admitted(self, head: RequestHead) -> Downstream | UpgradeRefusal:
        if not self.origins.allows(head.headers.get("host"), head.headers.get("origin")):
            return _FOREIGN
        if head.path != http.INGRESS_ROUTE:
            return _NOT_FOUND
        headers = _Fields(head.headers)
        credentials = Credentials.of(headers, head.query, can_upgrade=bool(head.websocket_key))
        admitted = self._admission.admit(credentials)
        if isinstance(admitted, UpgradeRefusal):
            return admitted
        conversation = Conversation(
            f"gateway-{secrets.token_hex(8)}",
            credentials.avatar_id,
            admitted,
            self.limits,
            takes_opus=True,
            takes_egress=True,
            now=asyncio.get_running_loop().time(),
        )
        return Downstream(self, self._exchange, conversation, admitted)

    # --- connections ----------------------------------------------------------------------

    def joined(self, downstream: Downstream) -> None:
        """A session may begin."""
        self._downstreams.add(downstream)
        self._nobody.clear()
        self.roster.join(downstream.conversation)

    def left(self, downstream: Downstream) -> None:
        """Its connection is gone."""
        downstream.client.leave()
        self.roster.leave(downstream.conversation)
        self._downstreams.discard(downstream)
        if not self._downstreams:
            self._nobody.set()

    def bound_memory(self) -> None:
        """End the sessions that hold the most, if all together hold too much."""
        end_greediest(self._downstreams, self.limits.max_total_buffered_bytes)


class _Fields(dict[str, str]):
    """Header fields, found under any spelling of their names."""

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        return super().get(name.lower(), default)
