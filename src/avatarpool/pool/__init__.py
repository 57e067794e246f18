"""The pool: `state` decides, `pool` and `keeper` act."""

from avatarpool.pool.connection import LentSession, PooledConnection
from avatarpool.pool.pool import AvatarConnectionPool

__all__ = ["AvatarConnectionPool", "LentSession", "PooledConnection"]
