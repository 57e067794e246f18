"""Waiting for a pool's connections: for what can be had of them, for all, or for none."""

from __future__ import annotations

import asyncio

from avatarpool.exceptions import ConfigurationError, PoolClosed, PoolError, PoolTimeout
from avatarpool.pool.borrowing import PooledConnection
from avatarpool.pool.connection import Connection
from avatarpool.pool.opening import OpeningPolicy
from avatarpool.pool.state import PoolState


class Readiness:
    """Waits until the keeper has opened what `PoolState` wants, or closed it all.

    Args:
        state: What is wanted and what is there.
        policy: Why nothing more comes, if that is known.
        progress: Set when a connection comes or goes.
    """

    def __init__(
        self,
        state: PoolState[Connection, PooledConnection],
        policy: OpeningPolicy,
        progress: asyncio.Event,
    ) -> None:
        self._state = state
        self._policy = policy
        self._progress = progress

    async def some(self, timeout: float) -> None:
        """Wait for ``min_size`` connections, or for fewer where no more are to be had.

        Raises:
            PoolError: There is none.
            ConfigurationError: That is because none can be opened like this.
            PoolClosed: The pool was closed meanwhile.
        """
        state, policy = self._state, self._policy
        try:
            async with asyncio.timeout(timeout):
                while len(state.members) < state.min_size:
                    self._check_open()
                    if policy.refusal is not None and not state.opening:
                        break
                    await self._until_progress()
        except TimeoutError:
            pass
        if state.members or not state.min_size:
            return
        error = policy.error
        if isinstance(error, ConfigurationError):
            raise error
        raise PoolError(
            f"pool {state.name!r} could open none of its {state.min_size} connections: "
            f"{error or f'no answer within {timeout:.2f} s'}"
        ) from error

    async def all(self, timeout: float) -> None:
        """Wait for ``min_size`` connections, and be content with no fewer.

        Raises:
            PoolTimeout: They are not there in time.
            PoolClosed: The pool was closed meanwhile.
        """
        state = self._state
        try:
            async with asyncio.timeout(timeout):
                while len(state.members) < state.min_size:
                    self._check_open()
                    await self._until_progress()
        except TimeoutError:
            error = self._policy.error
            raise PoolTimeout(
                f"pool {state.name!r} had {len(state.members)} of {state.min_size} connections "
                f"after {timeout:.2f} s{f': {error}' if error else ''}"
            ) from error

    async def none(self, deadline: float) -> None:
        """Wait until the last connection is gone, or this moment of the event loop's clock."""
        try:
            async with asyncio.timeout_at(deadline):
                while self._state.members:
                    await self._until_progress()
        except TimeoutError:
            pass

    def _check_open(self) -> None:
        if self._state.is_closed:
            error = self._policy.error
            why = f": {error}" if error else ""
            raise PoolClosed(f"pool {self._state.name!r} was closed while it opened{why}")

    async def _until_progress(self) -> None:
        await self._progress.wait()
        self._progress.clear()
