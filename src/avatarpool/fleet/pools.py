"""The pools of a group, by key: made when they are asked for, and forgotten when they are not."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from avatarpool.fleet.keys import PoolKey, RoomKey
from avatarpool.fleet.sharing import Seat, Sharing
from avatarpool.fleet.stats import counted, total
from avatarpool.pool import AvatarConnectionPool, PoolEvent
from avatarpool.pool.collector import AnimationCollector
from avatarpool.pool.factory import takes_collector
from avatarpool.pool.options import PoolOptions
from avatarpool.stats import PoolStats

# New pools after which it is worth while to look for old ones: strangers may choose the avatars.
_MANY = 100


class Watcher(Protocol):
    """What watches any number of pools, such as a collector of metrics."""

    def add(self, pool: AvatarConnectionPool) -> None:
        """Watch one more."""

    def remove(self, pool: AvatarConnectionPool) -> None:
        """Watch it no more; harmless if it was not there."""


class KeyedPools:
    """Makes a group's pools, has them followed, and closes what nobody needs any more.

    Args:
        options: Every pool's; their name is the group's.
        config_factory: The user's.
        warm: Sessions that a key's pool keeps open.
        sharing: Who shares the sessions out among them.

    Attributes:
        each: The pools that are open, by key.
    """

    def __init__(
        self,
        options: PoolOptions,
        config_factory: Callable[..., object],
        warm: Mapping[PoolKey, int],
        sharing: Sharing,
    ) -> None:
        self.each: dict[PoolKey, AvatarConnectionPool] = {}
        self._options = options
        self._config_factory = config_factory
        self._warm = warm
        self._sharing = sharing
        self._seats: dict[PoolKey, Seat] = {}
        self._listeners: tuple[Callable[[PoolEvent], object], ...] = ()
        self._watchers: tuple[Watcher, ...] = ()
        self._quiet: dict[PoolKey, int] = {}  # pools without sessions, with their borrows so far
        self._many = _MANY
        self._gone = total([], [])  # the numbers of pools that are closed
        self._closers: set[asyncio.Task[None]] = set()
        self._rooms: dict[RoomKey, Callable[[], object]] = {}  # who is told of the group's end

    @property
    def are_many(self) -> bool:
        """Whether there are many more than at the last look for those that nobody needs."""
        return len(self.each) >= self._many

    def make(self, key: PoolKey) -> AvatarConnectionPool:
        """Make the pool of a key; it is not started yet."""
        warm = self._warm.get(key, 0)
        options = replace(
            self._options,
            name=self._name_for(key),
            config_factory=_KeyedFactory(key, self._config_factory),
            min_size=warm,
        )
        return self._add(key, options, self._sharing.seat(warm))

    def make_room(self, room: RoomKey, closing: Callable[[], object]) -> AvatarConnectionPool:
        """Make the pool of a room's session, which has no slot before `hold`; not started yet.

        Args:
            room: Its key here.
            closing: Called where the group closes before `drop`.
        """
        options = replace(
            self._options,
            name=self._name_for(room),
            config_factory=_KeyedFactory(PoolKey(**room.settings()), self._config_factory),
            min_size=0,
            max_size=1,
        )
        self._rooms[room] = closing
        # No successor beside an old one, which it would put out of the room.
        return self._add(room, options, self._sharing.seat(0, most=1))

    def hold(self, room: RoomKey) -> None:
        """Keep a room's session open from now on, in the slot that it has."""
        self._seats[room].hold(1)
        self.each[room].resize(1)

    def drop(self, room: RoomKey) -> None:
        """Close a room's pool, in the background; harmless if that was done."""
        if self._rooms.pop(room, None) is not None:
            self._close_early([room])

    def _add(self, key: PoolKey, options: PoolOptions, seat: Seat) -> AvatarConnectionPool:
        self._seats[key] = seat
        pool = AvatarConnectionPool.from_options(options, seat)
        for listener in self._listeners:
            pool.add_listener(listener)
        for watcher in self._watchers:
            watcher.add(pool)
        self.each[key] = pool
        return pool

    def _name_for(self, key: PoolKey) -> str:
        """Name the pool of a key: others may read like it, such as the same room's."""
        name = f"{self._options.name}/{key}"
        taken = {pool.name for pool in self.each.values()}
        names = itertools.chain([name], (f"{name}~{n}" for n in itertools.count(2)))
        return next(each for each in names if each not in taken)

    # --- followed by others -----------------------------------------------------------------

    def stats(self) -> tuple[PoolStats, dict[str, PoolStats]]:
        """Return the numbers of all together, closed ones included, and of each by its key."""
        begin = f"{self._options.name}/"
        each = {pool.name.removeprefix(begin): pool.get_stats() for pool in self.each.values()}
        meters = [pool.meter for pool in self.each.values()]
        return total([self._gone, *each.values()], meters), each

    def count_anew(self) -> None:
        """Start the counters and latencies anew."""
        self._gone = total([], [])
        for pool in self.each.values():
            pool.meter.reset()

    def add_listener(self, listener: Callable[[PoolEvent], object]) -> None:
        """Have one more listener called with each event of every pool, now and later."""
        for pool in self.each.values():
            pool.add_listener(listener)
        self._listeners = (*self._listeners, listener)

    def remove_listener(self, listener: Callable[[PoolEvent], object]) -> None:
        """Call a listener no more."""
        self._listeners = tuple(each for each in self._listeners if each != listener)
        for pool in self.each.values():
            pool.remove_listener(listener)

    def add_watcher(self, watcher: Watcher) -> None:
        """Have each pool watched, now and later, until it closes."""
        self._watchers = (*self._watchers, watcher)
        for pool in self.each.values():
            watcher.add(pool)

    def remove_watcher(self, watcher: Watcher) -> None:
        """Have the pools watched no more."""
        self._watchers = tuple(each for each in self._watchers if each is not watcher)
        for pool in self.each.values():
            watcher.remove(pool)

    # --- closed -----------------------------------------------------------------------------

    def forget(self) -> Collection[AvatarConnectionPool]:
        """Close the pools that nobody has asked since the last look, and that have nothing open.

        Returns:
            Those pools.
        """
        quiet, gone = {}, []
        for key, pool in self.each.items():
            borrows = pool.meter.counters.borrows_num
            if key in self._warm or key in self._rooms or pool.total_count:
                continue
            if pool.get_stats()["requests_waiting"]:
                continue
            if self._quiet.get(key) == borrows:
                gone.append(key)
            else:
                quiet[key] = borrows
        self._quiet = quiet
        self._many = len(self.each) - len(gone) + _MANY
        return self._close_early(gone)

    def _close_early(self, gone: Collection[PoolKey]) -> Collection[AvatarConnectionPool]:
        """Close pools before the group; they open nothing from now on."""
        pools = {self.each.pop(key): self._seats.pop(key) for key in gone}
        self._gone = total([self._gone, *(counted(pool.get_stats()) for pool in pools)], [])
        for pool, seat in pools.items():
            seat.is_leaving = True
            for watcher in self._watchers:
                watcher.remove(pool)
            task = asyncio.ensure_future(pool.close(timeout=0.0))
            self._closers.add(task)
            task.add_done_callback(self._closers.discard)
            task.add_done_callback(partial(_dismiss, self._sharing, seat))
        return pools.keys()

    async def close(self, timeout: float) -> None:
        """Close all pools: borrowers have ``timeout`` seconds.

        All are waited for, whatever comes. Cancelling cuts everything at once.
        """
        for told in list(self._rooms.values()):
            told()
        closing = [asyncio.ensure_future(pool.close(timeout)) for pool in self.each.values()]
        closing += self._closers
        try:
            await _all(closing)
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # who is cancelled before its first step closes nothing
            for close in closing:
                close.cancel()
            await _all(closing)
            raise
        for close in closing:
            close.result()


async def _all(tasks: Collection[asyncio.Future[None]]) -> None:
    """Wait for tasks, whatever comes of them; being cancelled cancels none."""
    if tasks:
        await asyncio.wait(tasks)


class _KeyedFactory:
    """Makes the configuration of one key's sessions; it holds no group."""

    def __init__(self, key: PoolKey, config_factory: Callable[..., object]) -> None:
        self._key = key
        self._make = partial(config_factory, key)
        self._takes_collector = takes_collector(self._make)

    async def __call__(self, collector: AnimationCollector) -> Any:
        given = self._make(collector) if self._takes_collector else self._make()
        return self._key.applied_to(await given if inspect.isawaitable(given) else given)


def _dismiss(sharing: Sharing, seat: Seat, _: asyncio.Task[None]) -> None:
    sharing.dismiss(seat)
