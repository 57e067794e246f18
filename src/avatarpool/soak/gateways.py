"""A gateway between the pools and a service that can be broken; it is restarted itself."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from avatarpool.config import SessionConfig
from avatarpool.endpoint.roster import Counts
from avatarpool.exceptions import AvatarSDKErrorCode as Code
from avatarpool.fleet import AvatarPoolGroup, LocalBudget, PoolKey
from avatarpool.gateway.gateway import Gateway
from avatarpool.gateway.keys import key_hash, new_key
from avatarpool.gateway.settings import (
    Budget,
    ClientLimits,
    ClientSettings,
    GatewaySettings,
    Listen,
    Pools,
)
from avatarpool.pool.events import PoolEvent, PoolEventKind
from avatarpool.protocol.keyframes import FRAMES_PER_SECOND
from avatarpool.soak.plan import FaultMix
from avatarpool.soak.soak import Trouble
from avatarpool.soak.tally import Tally, Violation
from avatarpool.soak.troubles import REBIND_ATTEMPTS, REBIND_PAUSE, BreakableService, hasty
from avatarpool.stats import PoolStats

CLIENTS = 3
"""Each has a pool of its own."""

CAUSES = frozenset(
    {
        *(code.value for code in (Code.upstreamError, Code.connectionClosed)),
        *(code.value for code in (Code.connectionFailed, Code.serverError)),
        *(code.value for code in (Code.creditsExhausted, Code.billingRequired)),
        *("PoolTimeout", "RequestTimeout", "TimeoutError"),
    }
)
"""What clients may hear of: not that they ask for too much, nor of the gateway's own account."""

_AVATAR = "local-avatar"

# Long enough for a request, short enough for its client to hear of the end before it gives up.
_QUEUE_TIMEOUT, _FRAME_TIMEOUT = 4.0, 3.0
_SHUTDOWN_TIMEOUT = 2.0
_REMEMBERED_FOR = 1.0  # what was refused, and how many sessions the account has
_SESSION_LIFE = 20.0  # upstream
_MANY = 10_000  # so that no client's own limits are met


@dataclass(slots=True)
class _Ledger:
    """What gateways have counted of one client."""

    requests: int = 0
    audio_seconds: float = 0.0


class BreakableGateway:
    """A `Gateway` that comes back on its ports, with its clients and the service behind it.

    Args:
        service: The service, which allows so many sessions and no more.
        rng: Source of all choices.
        sessions: The budget.
    """

    causes = CAUSES

    def __init__(self, service: BreakableService, rng: random.Random, sessions: int) -> None:
        self._service = service
        self._rng = rng
        self._sessions = sessions
        self._keys = {f"client-{number}": new_key() for number in range(1, CLIENTS + 1)}
        self._listen = Listen(port=0, ingress_port=0, shutdown_timeout=_SHUTDOWN_TIMEOUT)
        self._past = Counts()  # of gateways that are gone
        self._ledgers = {name: _Ledger() for name in self._keys}  # likewise
        self._excess = 0  # sessions that were refused for it, since that was last looked at
        self._gateway: Gateway  # once it was opened
        self._is_open = False

    async def open(self) -> None:
        """Start the gateway; from now on its ports are its own."""
        await self._start()
        self._listen = self._listen.model_copy(
            update={
                "port": urlsplit(self._gateway.console_url).port,
                "ingress_port": urlsplit(self._gateway.ingress_url).port,
            }
        )

    async def close(self) -> None:
        """Close the gateway, if it is open."""
        if self._is_open:
            await self._gateway.close()

    def config_factories(self) -> list[Callable[[], SessionConfig]]:
        """Return each client's."""
        return [partial(self._config, name) for name in self._keys]

    def _config(self, name: str) -> SessionConfig:
        return hasty(
            SessionConfig(
                avatar_id=_AVATAR,
                api_key=self._keys[name],
                app_id=name,
                console_endpoint_url=self._gateway.console_url,
                ingress_endpoint_url=self._gateway.ingress_url,
            )
        )

    # --- what it has come to ------------------------------------------------------------------

    def unfinished(self) -> str | None:
        """Say what it, or its service, still works on."""
        gateway = self._gateway
        under_way = sum(client.under_way for client in gateway.clients)
        turns = sum(client.running + client.waiting for client in gateway.clients)
        open_here = gateway.ingress.roster.requests_open
        if under_way or turns or open_here:
            return (
                f"{under_way} requests are under way at the gateway, {open_here} of them open, "
                f"with {turns} turns"
            )
        return self._service.unfinished()

    def unhealed(self) -> str | None:
        """Say what of it is not whole yet."""
        exchange, group = self._gateway.exchange, self._gateway.group
        remembered = exchange.memory.failure(_AVATAR, asyncio.get_running_loop().time())
        if remembered is not None:
            return f"the gateway remembers: {remembered}"
        for pool in group.pools.values():
            if pool.total_count < self._warm or pool.get_stats()["connections_opening"]:
                return f"{pool!r} at the gateway: {pool.last_open_error}"
        return None

    def complaints(
        self, pools: Sequence[PoolStats], tally: Tally, *, was_calm: bool
    ) -> Iterator[tuple[Violation, str]]:
        """Compare what the gateway has counted with what its clients have."""
        for complaint in self._miscounts(pools, tally):
            yield Violation.COUNTERS, complaint
        stats = self._gateway.group.get_stats()
        open_there = self._service.sessions_open
        if max(stats["used"], open_there) > self._sessions:
            yield (
                Violation.BUDGET,
                f"{stats['used']} sessions are leased and {open_there} open, of {self._sessions}",
            )
        excess, self._excess = self._excess, 0
        if was_calm and excess:
            yield Violation.BUDGET, f"{excess} sessions were one more than the account allows"

    def _followed(self, event: PoolEvent) -> None:
        if event.kind is PoolEventKind.REFUSED:
            self._excess += event.reason.startswith(Code.concurrencyLimit.value)

    def _miscounts(self, pools: Sequence[PoolStats], tally: Tally) -> Iterable[str]:
        ledgers, counts = self._counted()
        for (name, ledger), pool in zip(ledgers.items(), pools, strict=True):
            begun = pool["requests_num"]
            if ledger.requests > begun:
                yield f"{name} has begun {begun} requests, the gateway has {ledger.requests} of it"
        begun = sum(pool["requests_num"] for pool in pools)
        served = sum(pool["total_requests_served"] for pool in pools)
        ended = counts.served + counts.interrupted + counts.failed
        if counts.served < served or ended > begun:
            yield (
                f"clients have begun {begun} requests and had {served} last frames, the gateway "
                f"has sent {counts.served}, and {ended} requests have ended there"
            )
        received = sum(pool["frames_received"] for pool in pools)
        if received > counts.frames + counts.interrupted:
            yield f"clients have received {received} frames, the gateway has sent {counts.frames}"
        seconds = sum(ledger.audio_seconds for ledger in ledgers.values())
        if seconds < tally.answered_frames / FRAMES_PER_SECOND - 1.0:
            yield (
                f"{tally.answered_frames} frames of {FRAMES_PER_SECOND} a second were answered, "
                f"the gateway has counted {seconds:.1f} s"
            )

    def _counted(self) -> tuple[dict[str, _Ledger], Counts]:
        """Return what all gateways have counted so far: of each client, and in all."""
        counts = self._gateway.ingress.roster.counts()
        counts.add(self._past)
        ledgers = {}
        for client in self._gateway.clients:
            past = self._ledgers[client.name]
            ledgers[client.name] = _Ledger(
                past.requests + client.requests, past.audio_seconds + client.audio_seconds
            )
        return ledgers, counts

    # --- restarts -----------------------------------------------------------------------------

    def troubles(self, mix: FaultMix) -> dict[str, Trouble]:
        """Return the faults of a mix, by name: the service's, and its own."""
        troubles = self._service.troubles(mix)
        if mix in (FaultMix.RESTARTS, FaultMix.MIXED):
            troubles["gateway restart"] = self._restart
            troubles["gateway crash"] = self._crash
        if mix is FaultMix.MIXED:
            everything = troubles["everything"]

            async def restart_under_faults(seconds: float) -> None:
                both = everything(seconds), self._restart(seconds)
                # Otherwise it would be over, where cancelled, before both are.
                for result in await asyncio.gather(*both, return_exceptions=True):
                    if result is not None:
                        raise result

            troubles["gateway restart under faults"] = restart_under_faults
        return troubles

    async def _restart(self, seconds: float) -> None:
        """Close the gateway as SIGTERM does, and start another one after a while."""
        await self._replace(self._gateway.close(), self._rng.uniform(0.0, seconds))

    async def _crash(self, seconds: float) -> None:
        """Cut all of its sockets, and start another one after a while."""
        await self._replace(self._cut(self._gateway), self._rng.uniform(0.0, seconds))

    @staticmethod
    async def _cut(gateway: Gateway) -> None:
        gateway.ingress.cut()
        for close in (gateway.group.close, gateway.close):
            closing = asyncio.create_task(close())
            await asyncio.sleep(0)
            closing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await closing

    async def _replace(self, close: Coroutine[object, object, None], pause: float) -> None:
        closing = asyncio.create_task(close)
        try:
            await asyncio.shield(closing)
            await asyncio.sleep(pause)
        finally:
            await closing
            self._ledgers, self._past = self._counted()
            await self._start_again()

    async def _start_again(self) -> None:
        for attempt in range(1, REBIND_ATTEMPTS + 1):
            try:
                await self._start()
            except OSError:  # as of a `BreakableService`
                if attempt == REBIND_ATTEMPTS:
                    raise
                await asyncio.sleep(REBIND_PAUSE)
            else:
                return

    async def _start(self) -> None:
        gateway, budget = Gateway(self._settings()), LocalBudget(self._sessions)
        budget.ceiling.seconds = _REMEMBERED_FOR
        # The account's sessions as the gateway has them, but hasty.
        gateway.group = AvatarPoolGroup(
            lambda _: self._service.config_factory(),
            budget=budget,
            warm={PoolKey(_AVATAR): self._warm},
            request_timeout=_FRAME_TIMEOUT,
            max_lifetime=_SESSION_LIFE,
            max_idle=2.0,
            quarantine_timeout=1.0,
            name="gateway",
        )
        gateway.group.add_listener(self._followed)
        await gateway.start()
        gateway.exchange.memory.seconds = _REMEMBERED_FOR
        self._gateway, self._is_open = gateway, True

    @property
    def _warm(self) -> int:
        """Sessions that are kept open: the others come and go as they are needed."""
        return max(0, self._sessions - 2)

    def _settings(self) -> GatewaySettings:
        limits = ClientLimits(max_concurrent=_MANY, max_waiting=_MANY, queue_timeout=_QUEUE_TIMEOUT)
        return GatewaySettings(
            listen=self._listen,
            budget=Budget(sessions=self._sessions),
            pools=Pools(
                request_timeout=_FRAME_TIMEOUT,
                first_frame_timeout=_FRAME_TIMEOUT,
                resend_lost_requests=self._rng.random() < 0.5,
            ),
            clients=tuple(
                ClientSettings(name=name, app_id=name, key_hash=key_hash(key), limits=limits)
                for name, key in self._keys.items()
            ),
        )
