"""The shells over the server's side of the wire, and what is about one of them."""

from __future__ import annotations

import pytest
from picows_service import PicowsService

from avatarpool.service import LocalAvatarService

SHELLS = [pytest.param(LocalAvatarService, id="aiohttp"), pytest.param(PicowsService, id="picows")]

on_aiohttp = pytest.mark.parametrize("shell", SHELLS[:1], indirect=True)
"""Marks what is about lips, faults, or the way in which aiohttp reads and writes."""
