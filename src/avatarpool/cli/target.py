"""Where a command finds its avatar service."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from avatarpool.cli.settings import REQUIRED_VARIABLES, Settings, settings_from


@asynccontextmanager
async def avatar_service(settings: Settings) -> AsyncIterator[Settings]:
    """Yield the settings of the named service, or of a local one if none is named."""
    if not settings.is_empty:
        yield settings
        return
    from avatarpool.service import LocalAvatarService  # noqa: PLC0415  # and its lips

    unset = ", ".join(REQUIRED_VARIABLES)
    print(f"None of {unset} is set: using a local avatar service.", file=sys.stderr)  # noqa: T201
    async with LocalAvatarService() as service:
        yield settings_from(service.environment)
