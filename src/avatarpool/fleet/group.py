"""Pools by key under one budget: the account's sessions, lent for any avatar, rate and format."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import weakref
from collections.abc import Callable, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Self, cast

from avatarpool.config import OggOpusEncoderConfig
from avatarpool.exceptions import ConfigurationError, PoolClosed, PoolError
from avatarpool.fleet.budget import Budget
from avatarpool.fleet.keys import PoolKey, RoomKey
from avatarpool.fleet.pools import KeyedPools, Watcher
from avatarpool.fleet.room import Room
from avatarpool.fleet.sharing import Sharing
from avatarpool.fleet.stats import GroupStats
from avatarpool.pool import AvatarConnectionPool, PooledConnection, PoolEvent
from avatarpool.pool.arguments import check_number, negative, uncallable, uncountable
from avatarpool.pool.factory import ConfigFactory
from avatarpool.pool.options import PoolOptions
from avatarpool.protocol.messages import PlaybackState
from avatarpool.protocol.settings import (
    DEFAULT_SAMPLE_RATE,
    AgoraEgressConfig,
    AudioFormat,
    LiveKitEgressConfig,
)

# Seconds between looks for pools that nobody has asked since the last one.
_SWEEP_INTERVAL = 60.0

_group_numbers = itertools.count(1)


class AvatarPoolGroup:
    """Lends sessions of any key, from pools that share one budget.

    ::

        async with AvatarPoolGroup(config_for, budget=LocalBudget(10)) as group:
            async with group.borrow("avatar-a", sample_rate=24000) as conn:
                await conn.session.send_audio(audio, end=True)
                frames = await conn.collector.wait()

    Each key has a pool of its own, opened when it is first asked for. A pool with borrowers
    waiting and nothing to lend gets a slot of the budget; where none is free, the longest idle
    session of another pool makes room, or the next that comes back, so that over all keys
    those go first who have waited for the longest. All times are seconds.

    Args:
        config_factory: Makes the configuration of a key's session: called with the `PoolKey`,
            and a collector if it takes one; may be a coroutine function. What the key says
            is filled in.
        budget: How many sessions there may be: a `LocalBudget`, or a `RedisBudget` where
            other processes and hosts use the account too.
        warm: Sessions to keep open, by key, whoever else waits; one of the budget must be left.
        min_hold: How long a session is kept before it makes room for another key's.
        name: Shown in messages and logs.
        options: What `AvatarConnectionPool` takes for each key's pool, but for its sizes.

    Raises:
        ConfigurationError: The numbers cannot work.
    """

    def __init__(
        self,
        config_factory: Callable[..., object],
        *,
        budget: Budget,
        warm: Mapping[PoolKey, int] = MappingProxyType({}),
        min_hold: float = 1.0,
        name: str | None = None,
        **options: Any,
    ) -> None:
        self.name = name or f"group-{next(_group_numbers)}"
        self._budget = budget
        self._warm = dict(warm)
        self._config_factory = config_factory
        pool_options = self._checked(options, min_hold)
        self._sharing = Sharing(budget, min_hold)
        self._pools = KeyedPools(pool_options, config_factory, self._warm, self._sharing)
        self._lent_by: dict[tuple[Any, ...], AvatarConnectionPool] = {}  # by what `borrow` was told
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.Context()  # what `initialize` was called in
        self._opened: asyncio.Future[None] | None = None  # done once `initialize` is
        self._is_open = False  # whether it lends
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        if self._closed is not None:
            return f"<AvatarPoolGroup {self.name!r} closed>"
        used = self._sharing.used
        return (
            f"<AvatarPoolGroup {self.name!r} {len(self._pools.each)} keys, "
            f"{used} of {self._budget.sessions} sessions>"
        )

    # --- what it holds ----------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether it is not open: not initialized yet, or closed."""
        return not self._is_open or self._closed is not None

    @property
    def pools(self) -> Mapping[PoolKey, AvatarConnectionPool]:
        """The pools that are open now, by key; for looking at, not for keeping."""
        return MappingProxyType(self._pools.each)

    @property
    def attainable(self) -> int:
        """How many sessions there could be now, of all keys, and one more to ask for."""
        return self._sharing.attainable

    def get_stats(self) -> GroupStats:
        """Return the group's numbers: in all, and of each key."""
        total, each = self._pools.stats()
        return GroupStats(
            budget=self._budget.sessions, used=self._sharing.used, total=total, keys=each
        )

    def pop_stats(self) -> GroupStats:
        """Return the group's numbers and start the counters and latencies anew."""
        stats = self.get_stats()
        self._pools.count_anew()
        return stats

    def add_listener(self, listener: Callable[[PoolEvent], object]) -> None:
        """Have one more listener called with each `PoolEvent` of every pool, now and later."""
        self._pools.add_listener(listener)

    def remove_listener(self, listener: Callable[[PoolEvent], object]) -> None:
        """Call a listener no more; harmless if it was not there."""
        self._pools.remove_listener(listener)

    def add_watcher(self, watcher: Watcher) -> None:
        """Have each pool added to what watches pools, now and later, and removed as it closes."""
        self._pools.add_watcher(watcher)

    def remove_watcher(self, watcher: Watcher) -> None:
        """Have the pools watched no more; harmless if they were not."""
        self._pools.remove_watcher(watcher)

    # --- opening and closing ----------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def initialize(self, timeout: float = 30.0, *, wait: bool = True) -> None:
        """Open the warm sessions, and keep them open from now on.

        Returns when they are up, or with fewer once ``timeout`` has passed, or where the
        service or the budget allows no more now. Initializing an open group does nothing;
        beside a call that still opens it, this one waits for that. Cancelling the first call
        closes the group.

        Args:
            timeout: Seconds to wait for the sessions.
            wait: False opens all of them in the background.

        Raises:
            ConfigurationError: The configuration or the budget cannot work.
            PoolError: No session could be opened, of any warm key.
            PoolClosed: It is closed already.
        """
        check_number(f"group {self.name!r} cannot be opened", timeout=timeout)
        self._check_not_closed()
        if self._opened is not None:
            self._check_here()
            if wait:
                await asyncio.wait([self._opened], timeout=timeout)
                self._check_not_closed()
            return
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._opened = self._loop.create_future()
        try:
            await self._open(timeout, wait=wait)
        except BaseException:
            await self.close(timeout=0.0)
            raise
        finally:
            self._opened.set_result(None)

    async def _open(self, timeout: float, *, wait: bool) -> None:
        await self._budget.open(self._sharing.look_soon)
        if self._closed is not None:  # meanwhile
            await self._budget.close()
        self._check_not_closed()
        self._sharing.start()
        for key in self._warm:
            await self._pools.make(key).initialize(wait=False)
            self._check_not_closed()
        self._is_open = True
        self._sweep_later()
        if wait:
            await self._some(timeout)
            self._check_not_closed()

    async def _some(self, timeout: float) -> None:
        """Wait for the warm sessions; raise where there are none, for the service's refusals."""
        pools = list(self._pools.each.values())
        came = await asyncio.gather(
            *(pool.initialize(timeout) for pool in pools), return_exceptions=True
        )
        errors = [
            error
            for pool, error in zip(pools, came, strict=True)
            if isinstance(error, PoolError | ConfigurationError) and pool.last_open_error
        ]
        if errors and len(errors) == len(pools):
            raise errors[0]

    async def wait(self, timeout: float = 30.0) -> None:
        """Wait until all warm sessions are open, lent or not.

        Raises:
            PoolTimeout: They are not open in time.
            PoolClosed: The group is not open, or was closed meanwhile.
            PoolError: It belongs to another event loop.
        """
        check_number(f"group {self.name!r} cannot be waited for", timeout=timeout)
        self._check_open()
        self._check_here()
        # One after another: each is kept once it is open.
        deadline = asyncio.get_running_loop().time() + timeout
        for key in self._warm:
            await self._pools.each[key].wait(max(0.0, deadline - asyncio.get_running_loop().time()))

    async def check(self) -> None:
        """Look at the idle sessions of all keys now, as `AvatarConnectionPool.check` does.

        Raises:
            PoolClosed: The group is not open.
        """
        self._check_open()
        for pool in list(self._pools.each.values()):
            with contextlib.suppress(PoolClosed):  # nobody needed it any more
                await pool.check()

    async def close(self, timeout: float = 5.0) -> None:
        """Close every pool: waiters learn it at once, borrowers have ``timeout`` seconds.

        Safe to call twice, and while `initialize` runs. Cancelling cuts everything at once.

        Raises:
            PoolError: It belongs to another event loop.
        """
        check_number(f"group {self.name!r} cannot be closed", timeout=timeout)
        if self._closed is not None:
            await asyncio.shield(self._closed)
            return
        if self._loop is not None:
            self._check_here()
        self._closed = asyncio.get_running_loop().create_future()
        self._sharing.stop()
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._lent_by.clear()  # who borrows from now on is told
        try:
            await self._pools.close(timeout)
        finally:
            try:
                await self._budget.close()
            finally:
                self._closed.set_result(None)

    def __del__(self) -> None:
        loop: asyncio.AbstractEventLoop | None = getattr(self, "_loop", None)
        if loop is None or self._closed is not None:
            return
        if not loop.is_closed():  # its pools say that they were forgotten, and close
            loop.call_soon_threadsafe(_let_go, loop, self._sharing, self._budget)

    def resize(self, sessions: int) -> None:
        """Change the budget; sessions beyond it go as they come free.

        Raises:
            ConfigurationError: That is no number of sessions, or leaves none beside the warm ones.
        """
        problems = uncountable(sessions=sessions) or self._too_warm(sessions)
        if problems:
            raise ConfigurationError(f"group {self.name!r} cannot work", problems)
        self._budget.resize(sessions)

    def drain(self) -> None:
        """Replace every session: idle ones now, lent ones on their return.

        Raises:
            PoolClosed: The group is not open.
        """
        self._check_open()
        for pool in self._pools.each.values():
            pool.drain()

    # --- borrowing --------------------------------------------------------------------------

    def borrow(
        self,
        avatar: str | PoolKey,
        *,
        sample_rate: int = DEFAULT_SAMPLE_RATE,
        audio_format: AudioFormat | str = AudioFormat.PCM_S16LE,
        ogg_opus_encoder: OggOpusEncoderConfig | None = None,
        livekit_egress: LiveKitEgressConfig | None = None,
        agora_egress: AgoraEgressConfig | None = None,
        timeout: float | None = None,
        priority: float = 0.0,
    ) -> PooledConnection:
        """Lend a connection of one key for the length of an ``async with``.

        As `AvatarConnectionPool.borrow`, which says what cancelling does.

        Args:
            avatar: The avatar's id, which the settings after it make a key; or a `PoolKey`,
                which has its own.
            sample_rate: Samples per second of the audio.
            audio_format: Its `AudioFormat`.
            ogg_opus_encoder: Encodes PCM to Ogg Opus.
            livekit_egress: The animation goes to this LiveKit room.
            agora_egress: The animation goes to this Agora channel.
            timeout: Seconds to wait; left out, the group's ``timeout``.
            priority: Each unit counts as 10 s of waiting, over all keys.

        Raises:
            PoolTimeout: No connection came free in time.
            TooManyRequests: ``max_waiting`` borrowers wait for this key already.
            PoolClosed: The group is not open.
            PoolError: The group belongs to another event loop.
            AvatarSDKError: No session of this key is open, and the service refuses new ones.
            ConfigurationError: No session can have this key; raised at once.
        """
        settings = (avatar, sample_rate, audio_format, ogg_opus_encoder)
        pool = None
        if livekit_egress is None and agora_egress is None:  # a room is most often new
            try:  # noqa: SIM105  # `suppress` costs as much as all the rest
                pool = self._lent_by.get(settings)
            except TypeError:  # what is no setting at all is told below
                pass
        if pool is None:
            pool = self._pool_for(settings, livekit_egress, agora_egress)
        return pool.borrow(timeout, priority=priority)

    def room(
        self,
        avatar: str | PoolKey,
        *,
        sample_rate: int = DEFAULT_SAMPLE_RATE,
        audio_format: AudioFormat | str = AudioFormat.PCM_S16LE,
        ogg_opus_encoder: OggOpusEncoderConfig | None = None,
        livekit_egress: LiveKitEgressConfig | None = None,
        agora_egress: AgoraEgressConfig | None = None,
        timeout: float | None = None,
        priority: float = 0.0,
        on_playback: Callable[[PlaybackState], object] | None = None,
    ) -> Room:
        """Hold a session for the life of a LiveKit room or an Agora channel: ``async with``.

        It is opened on entering, and takes a slot of the budget until it is left. `Room`
        says how it is spoken in, and what becomes of a session that ends before.

        Args:
            avatar: As of `borrow`.
            sample_rate: As of `borrow`.
            audio_format: As of `borrow`.
            ogg_opus_encoder: As of `borrow`.
            livekit_egress: The room; this or ``agora_egress``, here or in the key.
            agora_egress: The channel.
            timeout: Seconds for it to be open; left out, the group's ``timeout``.
            priority: As of `borrow`.
            on_playback: Called with each `PlaybackState` as the service tells it, from the
                event loop; must not block.

        Raises:
            PoolClosed: The group is not open.
            PoolError: The group belongs to another event loop.
            ConfigurationError: No session can have this key, or it has no room.
        """
        settings = (avatar, sample_rate, audio_format, ogg_opus_encoder)
        key = self._key_of(settings, livekit_egress, agora_egress)
        what = f"group {self.name!r} cannot open a room"
        if key.livekit_egress is None and key.agora_egress is None:
            raise ConfigurationError(what, ["livekit_egress or agora_egress is missing"])
        check_number(what, timeout=0.0 if timeout is None else timeout, priority=priority)
        problems = uncallable(on_playback=on_playback)
        if problems:
            raise ConfigurationError(what, problems)
        return Room(
            self._pools,
            RoomKey(**key.settings()),
            start=lambda pool: self._context.copy().run(pool.start),
            timeout=timeout,
            priority=priority,
            on_playback=on_playback,
        )

    def _pool_for(
        self,
        settings: tuple[str | PoolKey, int, AudioFormat | str, OggOpusEncoderConfig | None],
        livekit_egress: LiveKitEgressConfig | None,
        agora_egress: AgoraEgressConfig | None,
    ) -> AvatarConnectionPool:
        """Return the pool of what `borrow` was told, a new one if need be."""
        key = self._key_of(settings, livekit_egress, agora_egress)
        pool = self._pools.each.get(key)
        if pool is None:
            if self._pools.are_many:
                self._sweep()
            pool = self._pools.make(key)
            self._context.copy().run(pool.start)
        if livekit_egress is None and agora_egress is None:
            self._lent_by[settings] = pool
        return pool

    def _key_of(
        self,
        settings: tuple[str | PoolKey, int, AudioFormat | str, OggOpusEncoderConfig | None],
        livekit_egress: LiveKitEgressConfig | None,
        agora_egress: AgoraEgressConfig | None,
    ) -> PoolKey:
        """Return the key of what `borrow` was told, where something can be lent now."""
        self._check_open()
        self._check_here()
        avatar, sample_rate, audio_format, encoder = settings
        if not isinstance(avatar, PoolKey):
            audio_format = cast("AudioFormat", audio_format)  # or what is none: it says so
            return PoolKey(avatar, sample_rate, audio_format, encoder, livekit_egress, agora_egress)
        if (*settings[1:], livekit_egress, agora_egress) != _NO_SETTINGS:
            raise ConfigurationError(
                "nothing can be lent", ["a PoolKey has its own settings, and others were given"]
            )
        return avatar

    def _sweep_later(self) -> None:
        """Look for pools that nobody needs, for as long as there is a group."""
        assert self._loop is not None
        self._sweeper = self._loop.call_later(_SWEEP_INTERVAL, _sweep, weakref.ref(self))

    def _sweep(self) -> None:
        gone = self._pools.forget()
        self._lent_by = {asked: pool for asked, pool in self._lent_by.items() if pool not in gone}

    def _check_open(self) -> None:
        if self._closed is not None:
            raise PoolClosed(f"group {self.name!r} is closed")
        if not self._is_open:
            raise PoolClosed(f"group {self.name!r} is not open: call initialize() first")

    def _check_not_closed(self) -> None:
        if self._closed is not None:
            raise PoolClosed(f"group {self.name!r} is closed: make a new one")

    def _check_here(self) -> None:
        try:
            is_here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            is_here = False
        if not is_here:
            raise PoolError(
                f"group {self.name!r} belongs to another event loop or process: initialize and "
                "use it in one, and make a group for each"
            )

    # --- its arguments ----------------------------------------------------------------------

    def _checked(self, options: dict[str, Any], min_hold: float) -> PoolOptions:
        sizes = {"pool_size", "min_size", "max_size"} & set(options)
        if sizes:
            raise TypeError(f"{', '.join(sorted(sizes))}: a group's sizes are budget and warm")
        problems = negative(min_hold=min_hold) + uncallable(config_factory=self._config_factory)
        if self._config_factory is None:
            problems.append("config_factory is missing")
        if not all(isinstance(key, PoolKey) for key in self._warm):
            problems.append("warm has a key that is no PoolKey")
        problems += uncountable(**{f"warm[{key}]": n for key, n in self._warm.items()})
        problems = problems or self._too_warm(self._budget.sessions)
        if problems:
            raise ConfigurationError(f"group {self.name!r} cannot work", problems)
        return PoolOptions(
            config_factory=cast("ConfigFactory", self._config_factory),
            name=self.name,
            min_size=0,
            max_size=self._budget.sessions,
            **options,
        )

    def _too_warm(self, sessions: int) -> list[str]:
        problems = [f"warm[{key}] {n} is negative" for key, n in self._warm.items() if n < 0]
        warm = sum(self._warm.values())
        if warm >= sessions:
            problems.append(
                f"{warm} warm sessions leave none of {sessions} for other keys: lower warm, "
                "or raise the budget"
            )
        return problems


# What `borrow` takes beside a `PoolKey`.
_NO_SETTINGS = (DEFAULT_SAMPLE_RATE, AudioFormat.PCM_S16LE, None, None, None)


def _let_go(loop: asyncio.AbstractEventLoop, sharing: Sharing, budget: Budget) -> None:
    """Share out nothing more for a group that was forgotten."""
    sharing.stop()
    sharing.closing = loop.create_task(budget.close())


def _sweep(group: weakref.ref[AvatarPoolGroup]) -> None:
    found = group()
    if found is not None and not found.closed:
        found._sweep()  # noqa: SLF001  # our own
        found._sweep_later()  # noqa: SLF001
