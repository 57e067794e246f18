"""Tasks that a test leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest


@asynccontextmanager
async def no_task_left() -> AsyncIterator[None]:
    """Fail if the block leaves a task of its own behind."""
    before = asyncio.all_tasks()
    yield
    # Whatever was cancelled or is just ending gets its last steps.
    for _ in range(100):
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        if not left:
            return
        await asyncio.sleep(0)
    pytest.fail(f"tasks left behind: {left}")
