"""A local service that can be broken in every way that it knows, and restarted."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from avatarpool.config import SessionConfig
from avatarpool.lipsync import EchoDriver
from avatarpool.protocol.codec import encode
from avatarpool.protocol.messages import AnimationFrame, ConfirmSession
from avatarpool.service import (
    Faults,
    LocalAvatarService,
    ServiceLimits,
    SessionFault,
    Step,
    TokenFault,
)
from avatarpool.soak.plan import SEND_TIMEOUT, FaultMix
from avatarpool.soak.soak import Trouble

_STEP_TIMEOUT = 1.0  # for a token, a connection, a handshake
_PING = 1.0  # between pings, and for their answers
_FLICKER = 0.02, 0.4  # seconds that one choice lasts, at least and at most
REBIND_ATTEMPTS, REBIND_PAUSE = 100, 0.1

Fault = tuple[TokenFault | None, SessionFault | None]
Choice = Callable[[random.Random], Fault]


def _reset(rng: random.Random) -> SessionFault:
    return SessionFault(resets=True, after_frames=rng.randrange(30))


_GARBAGE = (
    b"\xff\xff",  # no message
    b"",  # one without content
    encode(ConfirmSession("once more")),
    encode(AnimationFrame("somebody-else", end=True)),
)

# Where opening goes wrong there must be something to open: the resets see to that.
_OPENING: dict[str, Choice] = {
    "token errors": lambda rng: (TokenFault(status=rng.choice((429, 500, 502, 503))), _reset(rng)),
    "token refusals": lambda rng: (TokenFault(status=rng.choice((400, 401, 403))), _reset(rng)),
    "late tokens": lambda rng: (TokenFault(delay=rng.uniform(0.0, 1.5)), _reset(rng)),
    "refused upgrades": lambda rng: (
        None,
        SessionFault(
            upgrade_status=rng.choice((400, 401, 402, 404, 429, 500, 503)),
            resets=True,
            after_frames=rng.randrange(30),
        ),
    ),
    "stalled openings": lambda rng: (
        None,
        rng.choice(
            (_reset(rng), *(SessionFault(stalls_at=s) for s in (Step.UPGRADE, Step.HANDSHAKE)))
        ),
    ),
}

_SESSIONS: dict[str, Choice] = {
    "resets": lambda rng: (None, _reset(rng)),
    "close codes": lambda rng: (
        None,
        SessionFault(
            close_code=rng.choice((1000, 1001, 1011, 4001, 4002, 4003, 4010, 4503)),
            after_frames=rng.randrange(30),
        ),
    ),
    "garbage": lambda rng: (
        None,
        SessionFault(garbage=rng.choice(_GARBAGE), after_frames=rng.randrange(10)),
    ),
    "wrong request ids": lambda _: (None, SessionFault(has_wrong_request_ids=True)),
    "doubled ends": lambda _: (None, SessionFault(doubles_end=True, after_frames=10**9)),
    "late frames": lambda rng: (None, SessionFault(delay=rng.uniform(0.0, 0.2))),
    "stalled requests": lambda rng: (
        None,
        SessionFault(
            stalls_at=rng.choice((Step.FRAMES, Step.LAST_FRAME)), after_frames=rng.randrange(10)
        ),
    ),
    "half-open connections": lambda rng: (
        None,
        SessionFault(is_half_open=True, after_frames=rng.randrange(10)),
    ),
}

_STRICT: tuple[Callable[[random.Random], ServiceLimits], ...] = (
    lambda rng: ServiceLimits(max_session_duration=rng.uniform(0.1, 1.0)),
    lambda rng: ServiceLimits(idle_timeout=rng.uniform(0.01, 0.1)),
    lambda rng: ServiceLimits(max_connections=rng.randint(1, 3)),
    lambda rng: ServiceLimits(credits=rng.uniform(1.0, 30.0)),
)

# Faults after which connections are dead for good, and only their pings will tell.
_SILENT = "half-open connections", "everything"


def hasty(config: SessionConfig) -> SessionConfig:
    """Make the limits of a configuration short, so that faults are noticed soon."""
    return replace(
        config,
        token_request_timeout=_STEP_TIMEOUT,
        connect_timeout=_STEP_TIMEOUT,
        handshake_timeout=_STEP_TIMEOUT,
        send_timeout=SEND_TIMEOUT,
        close_timeout=0.5,
        ping_interval=_PING,
        ping_timeout=_PING,
    )


class BreakableService:
    """A `LocalAvatarService` that echoes, fails on demand and comes back on its port.

    An async context manager.

    Args:
        rng: Source of all choices.
        limits: What it allows, unless a fault has it otherwise.
    """

    def __init__(self, rng: random.Random, limits: ServiceLimits | None = None) -> None:
        self._rng = rng
        self._limits = limits
        self.faults = Faults()  # the present ones; the same object through all restarts
        self._api_key = secrets.token_urlsafe(24)
        self._service = self._make(port=0)

    async def __aenter__(self) -> Self:
        await self._service.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._service.close()

    def config_factory(self) -> SessionConfig:
        """Return a configuration that `hasty` has made."""
        return hasty(self._service.config_factory())

    @property
    def sessions_open(self) -> int:
        """Connections that the service has."""
        return self._service.counters.connections_open

    def unfinished(self) -> str | None:
        """Say how many requests the service still works on, if it does."""
        count = self._service.counters.requests_open
        return f"{count} requests are open at the service" if count else None

    def troubles(self, mix: FaultMix) -> dict[str, Trouble]:
        """Return the faults of a mix, by name."""
        choices = {
            **(_OPENING if mix in (FaultMix.OPENING, FaultMix.MIXED) else {}),
            **(_SESSIONS if mix in (FaultMix.SESSIONS, FaultMix.MIXED) else {}),
        }
        troubles = {name: self._flickering(name, [choice]) for name, choice in choices.items()}
        if mix is FaultMix.MIXED:
            troubles["everything"] = self._flickering("everything", list(choices.values()))
        if mix in (FaultMix.RESTARTS, FaultMix.MIXED):
            troubles["restart"] = self._restart
            troubles["strict limits"] = self._be_strict
        return troubles

    def _flickering(self, name: str, choices: Sequence[Choice]) -> Trouble:
        # Another half for a machine that is busy.
        linger = 2.5 * _PING if name in _SILENT else 0.0
        return partial(self._flicker, choices, linger)

    async def _flicker(self, choices: Sequence[Choice], linger: float, seconds: float) -> None:
        """Change between faults, and none, for so long; its effects linger."""
        rng, faults = self._rng, self.faults
        try:
            async with asyncio.timeout(seconds):
                while True:
                    is_well = rng.random() < 0.25
                    faults.tokens, faults.sessions = (
                        (None, None) if is_well else rng.choice(choices)(rng)
                    )
                    await asyncio.sleep(rng.uniform(*_FLICKER))
        except TimeoutError:
            pass
        finally:
            faults.become(Faults())
        await asyncio.sleep(linger)

    async def _restart(self, seconds: float) -> None:
        """Close the service for a while, and start another one."""
        await self._replace(self._rng.uniform(0.0, seconds))

    async def _be_strict(self, seconds: float) -> None:
        """Have a service with limits that sessions run into, for so long."""
        try:
            await self._replace(0.0, self._rng.choice(_STRICT)(self._rng))
            await asyncio.sleep(seconds)
        finally:
            await self._replace(0.0)

    async def _replace(self, pause: float, limits: ServiceLimits | None = None) -> None:
        """Close the service, and after a pause start another one on its port."""
        closing = asyncio.create_task(self._service.close())
        try:
            await asyncio.shield(closing)
            await asyncio.sleep(pause)
        finally:
            await closing
            await self._start_again(limits)

    async def _start_again(self, limits: ServiceLimits | None) -> None:
        port = urlsplit(self._service.ingress_url).port or 0
        for attempt in range(1, REBIND_ATTEMPTS + 1):
            self._service = self._make(port, limits)
            try:
                await self._service.start()
            except OSError:
                # A client that was connecting to the port may have been given it
                # as its own; it lets go of it soon.
                if attempt == REBIND_ATTEMPTS:
                    raise
                await asyncio.sleep(REBIND_PAUSE)
            else:
                return

    def _make(self, port: int, limits: ServiceLimits | None = None) -> LocalAvatarService:
        return LocalAvatarService(
            port=port,
            limits=limits or self._limits,
            api_key=self._api_key,
            driver=EchoDriver,
            faults=self.faults,
        )
