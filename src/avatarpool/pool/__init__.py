"""The pool: `state` decides, `pool` and `keeper` act."""

from avatarpool.pool.borrowing import LentSession, PooledConnection
from avatarpool.pool.events import PoolEvent, PoolEventKind
from avatarpool.pool.options import PoolOptions
from avatarpool.pool.pool import AvatarConnectionPool

__all__ = [
    "AvatarConnectionPool",
    "LentSession",
    "PoolEvent",
    "PoolEventKind",
    "PoolOptions",
    "PooledConnection",
]
