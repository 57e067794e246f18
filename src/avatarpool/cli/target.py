"""Where a command finds its avatar service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from avatarpool.cli.streams import note
from avatarpool.config import SessionConfig
from avatarpool.environment import Settings


@asynccontextmanager
async def avatar_service(settings: Settings) -> AsyncIterator[Callable[[], SessionConfig]]:
    """Yield what describes a session of the named service, or of a local one if none is named."""
    if not settings.is_empty:
        yield settings.session_config
        return
    from avatarpool.service import LocalAvatarService  # noqa: PLC0415  # and its lips

    note("No AVATAR_* account is set: using a local avatar service.")
    async with LocalAvatarService() as service:
        yield service.config_factory
