"""A room that a service publishes into: one session for its life, whoever else waits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from avatarpool.exceptions import PoolClosed, RequestTimeout, SessionStateError
from avatarpool.fleet.keys import RoomKey
from avatarpool.fleet.playback import MOST_OPEN, Playbacks, Played
from avatarpool.fleet.pools import KeyedPools
from avatarpool.fleet.reopening import Reopening
from avatarpool.pool import AvatarConnectionPool, PooledConnection, PoolEvent
from avatarpool.pool.arguments import check_number
from avatarpool.pool.events import PoolEventKind as Kind
from avatarpool.protocol.messages import PlaybackState
from avatarpool.untrusted import copied, raised

log = logging.getLogger("avatarpool.room")

_INTERRUPT_TIMEOUT = 1.0  # seconds for an interrupt to leave; the pool ends what it does not reach


class Room:
    """Holds the one session that speaks in a LiveKit room or an Agora channel.

    ::

        async with group.room("avatar-a", livekit_egress=egress) as room:
            async with room.borrow() as conn:
                req_id = await conn.session.send_audio(audio, end=True)
                played = await room.played(req_id)

    `AvatarPoolGroup.room` makes it. Opening waits for a slot of the budget as any borrower
    does; then the slot is the room's until it is closed, and so is the session: one that dies,
    grows too old or is ended for silence is followed by another one, at the pool's pace, where
    the vendor's rules allow that.

    Attributes:
        failure: Why there is no session any more, and will be none; None while there may be.
    """

    def __init__(
        self,
        pools: KeyedPools,
        key: RoomKey,
        *,
        start: Callable[[AvatarConnectionPool], object],
        timeout: float | None,
        priority: float,
        on_playback: Callable[[PlaybackState], object] | None,
    ) -> None:
        self.failure: Exception | None = None
        self._pools = pools
        self._key = key
        self._start = start
        self._timeout = timeout
        self._priority = priority
        self._on_playback = on_playback
        self._pool: AvatarConnectionPool | None = None  # once it is opened
        self._reopening = Reopening()
        self._playbacks = Playbacks()
        self._latest = ""  # request
        # How each request's playback ended, or will; of the latest ones.
        self._ends: OrderedDict[str, asyncio.Future[Played]] = OrderedDict()
        self._alarm: asyncio.TimerHandle | None = None  # for an interrupt that is not answered
        self._is_over = False
        self._over = asyncio.Event()

    def __repr__(self) -> str:
        if self._is_over:
            stage = "closed" if self.failure is None else "failed"
        elif self._pool is None or not self._pool.total_count:
            stage = "without a session"
        else:
            stage = "open"
        return f"<Room {str(self._key)!r} {stage}>"

    # --- its life ---------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Wait for a slot of the budget, and for the session.

        Cancelling gives both up.

        Raises:
            PoolTimeout: There was none in time.
            AvatarSDKError: The service refuses.
            ConfigurationError: The configuration cannot work.
            PoolClosed: The group is closed, or was meanwhile.
            SessionStateError: It was entered before: make another one.
        """
        if self._pool is not None or self._is_over:
            raise SessionStateError(f"room {str(self._key)!r} was entered before: make another one")
        self._pool = self._pools.make_room(self._key, self._group_closes)
        self._start(self._pool)
        try:
            async with self._pool.borrow(self._timeout, priority=self._priority):
                if self._is_over:
                    raise PoolClosed(f"room {str(self._key)!r} was closed while it opened")
                self._pools.hold(self._key)
                self._pool.add_listener(self._follow)
        except BaseException:
            await self.close()
            raise
        log.info("room %s is open", self._key)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the session, whatever it still plays, and give its slot back.

        Safe to call twice. Cancelling ends the waiting alone.
        """
        self._end(None)
        if self._pool is not None:
            await self._pool.close(timeout=0.0)

    async def ended(self) -> Exception | None:
        """Wait until it has no session, and will have none; return why.

        Returns:
            What the service, or the closing of the group, ended it with; None: `close`.
        """
        await self._over.wait()
        return self.failure

    def _group_closes(self) -> None:
        self._end(PoolClosed(f"the group of room {str(self._key)!r} is closed"))

    def _end(self, failure: Exception | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        self.failure = failure
        if self._alarm is not None:
            self._alarm.cancel()
        if self._pool is not None:
            if failure is not None:
                self._pool.turn_away(failure)
            self._pools.drop(self._key)
        self._tell(self._playbacks.closed(str(failure or "the room was closed")))
        self._over.set()

    # --- speaking ---------------------------------------------------------------------------

    def borrow(self, timeout: float | None = None) -> Speech:
        """Lend the room's session for one request, after those who asked before.

        Keep it until the request was `played`: a service stops what it plays where the next
        request comes. Leaving by an exception, a cancellation included, interrupts what is
        still heard, at once; that is how a barge-in ends a speech.

        Args:
            timeout: Seconds to wait, for the session to be opened anew too; left out, the
                group's ``timeout``.

        Raises:
            SessionStateError: The room is not open.
            Exception: As of `AvatarPoolGroup.borrow`; once the room has failed, its failure.
        """
        if self.failure is not None:
            raise copied(self.failure)
        if self._is_over:
            raise SessionStateError(f"room {str(self._key)!r} is closed: ask for another one")
        if self._pool is None:
            raise SessionStateError(f"room {str(self._key)!r} is not open: use it with async with")
        return Speech(self, self._pool.borrow(timeout))

    async def interrupt(self) -> None:
        """Have the room fall silent at once, whoever speaks; nothing is waited for.

        Whoever still sends is to stop by itself: more audio would be another request.
        """
        if self._pool is not None and self.is_heard:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_INTERRUPT_TIMEOUT):
                    await self._pool.interrupt()

    async def played(self, req_id: str, timeout: float | None = None) -> Played:
        """Wait until a request's playback is over, and return how it ended.

        That is told once for each request, and always: by the service, 2 s after an
        interrupt that it does not answer, or by the end of the session or of the room.

        Args:
            req_id: What ``send_audio`` has returned; one of the latest 64.
            timeout: Seconds to wait; None for no limit, which a service that tells nothing of
                playback (its ``capabilities`` lack ``playback_state``) may need.

        Raises:
            RequestTimeout: It is not over in time.
            SessionStateError: The room does not know the request.
            ConfigurationError: ``timeout`` is no number.
        """
        what = f"room {str(self._key)!r} cannot be waited for"
        check_number(what, timeout=0.0 if timeout is None else timeout)
        end = self._ends.get(req_id) if isinstance(req_id, str) else None
        if end is None:
            raise SessionStateError(
                f"room {str(self._key)!r} knows no request {str(req_id)[:64]!r}"
            )
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(end)
        except TimeoutError as error:
            raise RequestTimeout(req_id, timeout or 0.0, 0, "end of its playback") from error

    @property
    def is_heard(self) -> bool:
        """Whether the latest request has begun, and its playback is not known to be over."""
        return self._latest in self._playbacks

    # --- followed ---------------------------------------------------------------------------

    def _follow(self, event: PoolEvent) -> None:
        connection_id = event.connection_id
        match event.kind:
            case Kind.OPENED:
                self._reopening.opened()
            case Kind.REQUEST_BEGAN:
                self._began(event.reason, connection_id)
            case Kind.PLAYBACK:
                self._played(event)
            case Kind.RETIRED:
                self._tell(self._playbacks.lost(connection_id, event.reason))
            case Kind.LOST | Kind.REFUSED:
                if event.kind is Kind.LOST:
                    self._tell(self._playbacks.lost(connection_id, event.reason))
                if not self._reopening.may_follow(event.error):
                    self._fail(event.error)

    def _fail(self, error: BaseException | None) -> None:
        if not self._is_over:
            log.warning("room %s has no session any more: %s", self._key, error)
        self._end(error if isinstance(error, Exception) else None)

    def _began(self, req_id: str, connection_id: str) -> None:
        self._latest = req_id
        self._ends[req_id] = asyncio.get_running_loop().create_future()
        self._tell(self._playbacks.began(req_id, connection_id))
        if self._is_over:  # its session is just being closed
            self._tell(self._playbacks.closed("the room was closed"))
        while len(self._ends) > MOST_OPEN:
            self._ends.popitem(last=False)

    def _played(self, event: PoolEvent) -> None:
        told = event.playback
        assert told is not None
        if isinstance(told, PlaybackState) and self._on_playback is not None:
            failure = raised(self._on_playback, told)
            if failure is not None:
                log.error("on_playback of room %s failed", self._key, exc_info=failure)
        loop = asyncio.get_running_loop()
        self._tell(self._playbacks.told(told, loop.time()))
        self._watch(loop)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look again when the next interrupt has been unanswered for too long."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        due = self._playbacks.next_due
        if due < float("inf"):
            self._alarm = loop.call_at(due, self._give_up, due)

    def _give_up(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        self._tell(self._playbacks.overdue(max(due, loop.time())))  # a loop may be early
        self._watch(loop)

    def _tell(self, ended: list[Played]) -> None:
        for played in ended:
            end = self._ends.get(played.req_id)
            if end is not None and not end.done():
                end.set_result(played)


class Speech:
    """The room's session for one request: what `Room.borrow` gives, for ``async with``.

    Args:
        room: The room.
        lent: The borrow.
    """

    def __init__(self, room: Room, lent: PooledConnection) -> None:
        self._room = room
        self._lent = lent

    def __repr__(self) -> str:
        return f"<Speech in {self._room!r} over {self._lent!r}>"

    def __aenter__(self) -> Coroutine[Any, Any, PooledConnection]:
        # Awaited by the borrower itself: the pool notes the place of that.
        return self._lent.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc_type is not None and not self._lent.is_unused and self._room.is_heard:
                await self._room.interrupt()
        finally:
            await self._lent.__aexit__(exc_type, exc, traceback)
