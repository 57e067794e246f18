"""The same faults for every design of a pool: which of them does it survive?

``python tests/faults/survival.py`` runs our pool and the official examples'
design over an official SDK (avatarkit), and prints a table.

Surviving means: no frame reaches another request, whoever is concerned learns
it before its timeout, and within seconds every request is served again, at
the pool's full size.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime, timedelta, timezone
from itertools import count
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    tests = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(tests), str(tests / "pool")]

from aiohttp import web
from echo import marked_audio, marks
from faults.laboratory import Laboratory, laboratory
from faults.naive_pool import NaivePool
from faults.peers import Answer, ScriptedPeer, scripted, truly
from faults.proxy import Link

from avatarpool import AvatarConnectionPool, AvatarSession, SessionConfig
from avatarpool.endpoint import refusals
from avatarpool.protocol.codec import encode
from avatarpool.protocol.messages import AnimationFrame, ConfirmSession, ServerError
from avatarpool.service import ServiceLimits

PATIENCE = 3.0
"""Seconds that a borrower waits for a connection, and for its frames."""

HEALING = 8.0
"""Seconds until all must be well again."""

SIZE = 3

ConfigFactory = Callable[[], SessionConfig]
Design = Callable[[ConfigFactory], Any]


class Mixed(Exception):
    """A request got frames that are not its own: nothing excuses that."""


def ours(config_factory: ConfigFactory) -> AvatarConnectionPool:
    """Our pool."""
    return AvatarConnectionPool(SIZE, config_factory, quarantine_timeout=0.3)


def naive(new_session: Callable[..., Any]) -> Design:
    """The official examples' design, over what makes sessions."""
    names = ("avatar_id", "api_key", "app_id", "console_endpoint_url", "ingress_endpoint_url")

    def design(config_factory: ConfigFactory) -> NaivePool:
        config = config_factory()
        options: dict[str, object] = {name: getattr(config, name) for name in names}
        options["expire_at"] = datetime.now(timezone.utc) + timedelta(minutes=5)
        return NaivePool(SIZE, lambda: options, new_session)

    return design


# --- what a scenario asks of a pool ---------------------------------------------------------

_marks = count(1)


async def request(conn: Any, frames: int = 4) -> None:
    """Make one request on a lent connection; whatever is wrong raises."""
    mark = next(_marks) % 30_000
    await conn.session.send_audio(marked_audio(mark, frames), end=True)
    got = marks(await conn.collector.wait(PATIENCE))
    if got != [mark] * frames:
        raise Mixed(f"{got} for {mark}")


async def serve(pool: Any, patience: float | None = None) -> None:
    """Borrow for one request."""
    async with pool.borrow(timeout=patience or PATIENCE) as conn:
        await request(conn)


async def is_well(pool: Any) -> None:
    """See that within seconds all connections are there, and serve two rounds."""
    async with asyncio.timeout(HEALING):
        while True:
            try:
                for _ in range(2):
                    async with AsyncExitStack() as stack:
                        conns = [
                            await stack.enter_async_context(pool.borrow(timeout=PATIENCE))
                            for _ in range(SIZE)
                        ]
                        await asyncio.gather(*map(request, conns))
            except Mixed:
                raise
            except Exception:  # noqa: BLE001  # vendors raise anything
                await asyncio.sleep(0.05)
            else:
                return


async def fails(waiting: Awaitable[object]) -> None:
    """See that something fails, and not by running out of time."""
    try:
        async with asyncio.timeout(PATIENCE):
            await waiting
    except (TimeoutError, Mixed):
        raise
    except Exception:  # noqa: BLE001
        return
    raise AssertionError("it did not fail")


async def is_right_or_fails(waiting: Awaitable[object]) -> None:
    """See that something is answered rightly, or else fails in time."""
    with suppress(AssertionError):
        await fails(waiting)


# --- scenarios over the local service -------------------------------------------------------

Scenario = Callable[[Design], Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {}


@asynccontextmanager
async def opened(design: Design, config_factory: ConfigFactory) -> AsyncIterator[Any]:
    """Give a pool that is open, and close it."""
    pool = design(config_factory)
    try:
        async with asyncio.timeout(HEALING):
            await pool.initialize()
        yield pool
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(HEALING):
                await pool.close()


PINGS = {"ping_interval": 0.3, "ping_timeout": 0.3}


def scenario(
    name: str, limits: ServiceLimits | None = None, first: dict[str, object] | None = None
) -> Callable[[Callable[[Laboratory, Any], Awaitable[None]]], None]:
    """Name what happens to an open pool; afterwards all must be well.

    What is said of the first sessions' configuration does not hold for later ones.
    """

    def add(happens: Callable[[Laboratory, Any], Awaitable[None]]) -> None:
        async def run(design: Design) -> None:
            async with laboratory(limits) as lab:
                usual, lab.overrides = lab.overrides, lab.overrides | (first or {})
                try:
                    async with opened(design, lab.config_factory) as pool:
                        lab.overrides = usual
                        await happens(lab, pool)
                        await is_well(pool)
                finally:
                    lab.ingress.cut()  # what a design forgets is not counted here
                    lab.console.cut()

        SCENARIOS[name] = run

    return add


@scenario("no fault, many borrowers")
async def _(lab: Laboratory, pool: Any) -> None:
    await asyncio.gather(*(serve(pool, 10 * PATIENCE) for _ in range(30)))


@scenario("slow network")
async def _(lab: Laboratory, pool: Any) -> None:
    for link in lab.ingress.links:
        link.down.delay = 0.01
        link.up.bytes_per_second = 500_000
    await asyncio.gather(*(serve(pool, 10 * PATIENCE) for _ in range(6)))


@scenario("borrower fails before it sends")
async def _(lab: Laboratory, pool: Any) -> None:
    with suppress(ZeroDivisionError):
        async with pool.borrow(timeout=PATIENCE):
            raise ZeroDivisionError


@scenario("waiting borrower is cancelled")
async def _(lab: Laboratory, pool: Any) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(SIZE):
            await stack.enter_async_context(pool.borrow(timeout=PATIENCE))
        waiting = asyncio.ensure_future(serve(pool))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])


@scenario("idle: reset")
async def _(lab: Laboratory, pool: Any) -> None:
    lab.ingress.cut()


@scenario("idle: one of them reset")
async def _(lab: Laboratory, pool: Any) -> None:
    for link in list(lab.ingress.links)[:1]:
        link.cut()


@scenario("idle: closed")
async def _(lab: Laboratory, pool: Any) -> None:
    lab.end_sessions(refusals.SERVICE_CLOSED)


@scenario("idle: maximum duration (4002)")
async def _(lab: Laboratory, pool: Any) -> None:
    lab.end_sessions(refusals.session_expired(60))


@scenario("idle: idle timeout")
async def _(lab: Laboratory, pool: Any) -> None:
    lab.end_sessions(refusals.idle(60))


@scenario("idle: dependency away (4503)")
async def _(lab: Laboratory, pool: Any) -> None:
    lab.end_sessions(refusals.Ending(4503, None, "upstream is away"))


@scenario("idle: black hole", first=PINGS)
async def _(lab: Laboratory, pool: Any) -> None:
    lab.ingress.swallow()


@scenario("lent: reset before the first byte")
async def _(lab: Laboratory, pool: Any) -> None:
    async with pool.borrow(timeout=PATIENCE) as conn:
        lab.ingress.cut()
        await asyncio.sleep(0.05)  # it is told, if anybody listens
        await request(conn)


@scenario("request: reset")
async def _(lab: Laboratory, pool: Any) -> None:
    async with pool.borrow(timeout=PATIENCE) as conn:
        await conn.session.send_audio(marked_audio(1, 4))
        lab.ingress.cut()
        await fails(conn.collector.wait(HEALING))


@scenario("request: maximum duration (4002)")
async def _(lab: Laboratory, pool: Any) -> None:
    async with pool.borrow(timeout=PATIENCE) as conn:
        await conn.session.send_audio(marked_audio(1, 4))
        lab.end_sessions(refusals.session_expired(60))
        await fails(conn.collector.wait(HEALING))


@scenario("request: black hole", first=PINGS)
async def _(lab: Laboratory, pool: Any) -> None:
    async with pool.borrow(timeout=PATIENCE) as conn:
        await conn.session.send_audio(marked_audio(1, 4))
        lab.ingress.swallow()
        await fails(conn.collector.wait(HEALING))


async def _leave(lab: Laboratory, pool: Any, *, end: bool, patience: float | None) -> None:
    for link in lab.ingress.links:
        link.down.delay = 0.02
    for _ in range(SIZE):
        async with pool.borrow(timeout=PATIENCE) as conn:
            await conn.session.send_audio(marked_audio(-1, 40), end=end)
            if patience is not None:
                with suppress(TimeoutError):
                    await conn.collector.wait(patience)


@scenario("request: times out, its frames are late")
async def _(lab: Laboratory, pool: Any) -> None:
    await _leave(lab, pool, end=True, patience=0.001)


@scenario("request: left, its frames are late")
async def _(lab: Laboratory, pool: Any) -> None:
    await _leave(lab, pool, end=True, patience=None)


@scenario("request: left half-sent")
async def _(lab: Laboratory, pool: Any) -> None:
    await _leave(lab, pool, end=False, patience=None)


@scenario("request: half-sent, waited for in vain")
async def _(lab: Laboratory, pool: Any) -> None:
    await _leave(lab, pool, end=False, patience=0.05)


@scenario("credits run out, and are topped up", ServiceLimits(credits=1.0))
async def _(lab: Laboratory, pool: Any) -> None:
    async with pool.borrow(timeout=PATIENCE) as conn:
        await conn.session.send_audio(marked_audio(1, 50), end=True)
        await fails(conn.collector.wait(HEALING))
    lab.service.top_up(60)


# --- opening and closing --------------------------------------------------------------------


def _hasty_at_first(service: Laboratory | ScriptedPeer, **deadlines: float) -> ConfigFactory:
    """Give those little time that are opened first: a busy machine needs more."""
    usual, attempts = service.overrides, count()

    def config_factory() -> SessionConfig:
        service.overrides = usual | (deadlines if next(attempts) < SIZE else {})
        return service.config_factory()

    return config_factory


async def _one_stalls(design: Design, what: str) -> None:
    async with laboratory() as lab:
        proxy = getattr(lab, what)
        config_factory = _hasty_at_first(lab, token_request_timeout=0.2, connect_timeout=0.2)

        def stall(link: Link) -> None:
            link.down.swallow_at = 0 if link.number == 0 else None

        proxy.on_link = stall
        try:
            async with opened(design, config_factory) as pool:
                await is_well(pool)
        finally:
            proxy.cut()


async def _stalled_token(design: Design) -> None:
    await _one_stalls(design, "console")


async def _stalled_upgrade(design: Design) -> None:
    await _one_stalls(design, "ingress")


async def _stalled_handshake(design: Design) -> None:
    async with scripted() as peer:
        peer.silent = 1
        config_factory = _hasty_at_first(peer, handshake_timeout=0.3)
        async with opened(design, config_factory) as pool:
            await is_well(pool)


async def _one_is_cut(design: Design) -> None:
    async with laboratory() as lab:
        lab.ingress.on_link = lambda link: setattr(link.up, "cut_at", None if link.number else 0)
        try:
            async with opened(design, lab.config_factory) as pool:
                await is_well(pool)
        finally:
            lab.ingress.cut()


async def _slot_frees_up(design: Design) -> None:
    async with laboratory(ServiceLimits(max_connections=SIZE)) as lab:
        async with AvatarSession(lab.config_factory()) as other:
            try:
                async with opened(design, lab.config_factory) as pool:
                    await serve(pool)
                    await other.close()
                    await is_well(pool)
            finally:
                lab.ingress.cut()


async def _closing(design: Design) -> None:
    async with laboratory() as lab, opened(design, lab.config_factory) as pool:
        async with AsyncExitStack() as stack:
            for _ in range(SIZE):
                await stack.enter_async_context(pool.borrow(timeout=PATIENCE))
            waiting = asyncio.ensure_future(_borrow(pool))
            await asyncio.sleep(0)
            closing = asyncio.ensure_future(pool.close())
            try:
                await fails(asyncio.shield(waiting))
            finally:
                waiting.cancel()
                await asyncio.wait([waiting])
        await closing


async def _borrow(pool: Any) -> None:
    async with pool.borrow(timeout=2 * HEALING) as conn:
        await request(conn)


SCENARIOS |= {
    "opening: one token request stalls": _stalled_token,
    "opening: one upgrade stalls": _stalled_upgrade,
    "opening: one handshake stalls": _stalled_handshake,
    "opening: one connection is cut": _one_is_cut,
    "opening: the plan is full (4003), a slot frees up": _slot_frees_up,
    "closing: who waits is told": _closing,
}


# --- peers that break the protocol ----------------------------------------------------------


def _answered(name: str, answer: Answer, judge: Callable[[Awaitable[object]], Any]) -> None:
    """Have all sessions answer like this for a while, and judge the requests."""

    async def run(design: Design) -> None:
        async with scripted() as peer:
            # By time, not by the session's number: on a busy machine an opening
            # may miss its deadline, and a later session take its place.
            peer.otherwise = answer
            async with opened(design, peer.config_factory) as pool:
                for _ in range(SIZE):
                    async with pool.borrow(timeout=PATIENCE) as conn:
                        await judge(request(conn))
                peer.otherwise = truly
                await is_well(pool)

    SCENARIOS[f"answer: {name}"] = run


Frames = list[AnimationFrame]


def _instead(harm: bytes | str) -> Answer:
    async def answer(websocket: web.WebSocketResponse, req_id: str, frames: Frames) -> None:
        await truly(websocket, req_id, frames[:1])
        if isinstance(harm, str):
            await websocket.send_str(harm)
        else:
            await websocket.send_bytes(harm)

    return answer


async def _doubled_end(websocket: web.WebSocketResponse, req_id: str, frames: Frames) -> None:
    await truly(websocket, req_id, [*frames, frames[-1]])


async def _foreign_frames(websocket: web.WebSocketResponse, req_id: str, frames: Frames) -> None:
    for frame in frames:
        await websocket.send_bytes(encode(AnimationFrame("other", frame.end, frame.animation)))
        await websocket.send_bytes(encode(frame))


async def _refused(websocket: web.WebSocketResponse, req_id: str, frames: Frames) -> None:
    await websocket.send_bytes(encode(ServerError(13, "upstream failed", "", req_id)))


_answered("undecodable message", _instead(b"\xff\xff\xff\xff"), fails)
_answered("text message", _instead("hello"), fails)
_answered("second confirmation", _instead(encode(ConfirmSession("c2"))), fails)
_answered("error for the request", _refused, fails)
_answered("doubled end", _doubled_end, is_right_or_fails)
_answered("frames of another request", _foreign_frames, is_right_or_fails)


# --- the table ------------------------------------------------------------------------------


async def verdict(run: Scenario, design: Design) -> str:
    """Return what a design made of a scenario: nothing if it survived."""
    try:
        async with asyncio.timeout(4 * HEALING):
            await run(design)
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__} {error}".strip()
    return ""


async def verdicts(design: Design) -> dict[str, str]:
    """Run all scenarios side by side."""
    results = await asyncio.gather(*(verdict(run, design) for run in SCENARIOS.values()))
    return dict(zip(SCENARIOS, results, strict=True))


async def main() -> None:
    """Print the table."""
    import avatarkit  # noqa: PLC0415  # needed by the table alone

    logging.disable(logging.CRITICAL)
    of_ours = await verdicts(ours)
    of_naive = await verdicts(naive(avatarkit.new_avatar_session))
    print("| fault | avatarpool | official example |\n| --- | --- | --- |")  # noqa: T201
    for name in SCENARIOS:
        cells = ["lost" if each[name] else "survived" for each in (of_ours, of_naive)]
        print(f"| {name} | {' | '.join(cells)} |", of_naive[name][:60] if DETAILS else "")  # noqa: T201
    survived = [sum(not why for why in each.values()) for each in (of_ours, of_naive)]
    print(f"| **of {len(SCENARIOS)}** | **{survived[0]}** | **{survived[1]}** |")  # noqa: T201


DETAILS = "-v" in sys.argv

if __name__ == "__main__":
    asyncio.run(main())
