"""What a user's own code may do with a connection: set it up, look at it, clean it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from avatarpool.exceptions import AvatarSDKError, AvatarSDKErrorCode
from avatarpool.pool.borrowing import Desk, PooledConnection
from avatarpool.pool.connection import Connection
from avatarpool.untrusted import answered, words

Hook = Callable[[PooledConnection], Awaitable[object]]


async def call(hook: Hook, what: str, desk: Desk, connection: Connection) -> None:
    """Lend a connection to a hook; cancelling cancels the hook.

    Raises:
        AvatarSDKError: The hook failed, took too long, or did not leave the
            connection open with its requests over.
    """
    inspected = _Inspected(desk, connection, what)
    session = connection.session
    timeout = desk.limits.timeout
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            await answered(hook, inspected)
    except Exception as error:
        reason = f"no end within {timeout:.2f} s" if limit.expired() else words(error)
        raise failure(f"{what} failed: {reason}", connection) from error
    finally:
        inspected.give_back().left = None
    if not session.is_open:
        raise failure(f"the connection was closed during {what}", connection)
    if connection.why:
        raise failure(f"the connection was discarded during {what}", connection)
    if not session.is_settled:
        raise failure(f"{what} left a request open", connection)


class _Inspected(PooledConnection):
    """A connection in the hands of a hook: it is about this one, and no other will do."""

    def __init__(self, desk: Desk, connection: Connection, what: str) -> None:
        super().__init__(desk, 0.0, 0.0)
        self._place = what
        self.holder = None
        self.hold(connection)

    async def ready(self) -> Connection:
        return self.touched()


def failure(message: str, connection: Connection) -> AvatarSDKError:
    """Say what is wrong with a hook: an error that may heal, so that others are tried later."""
    return AvatarSDKError(
        AvatarSDKErrorCode.connectionFailed,
        message,
        phase="hook",
        connection_id=connection.connection_id,
    )
