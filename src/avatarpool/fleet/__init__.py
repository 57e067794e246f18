"""One account's sessions, shared by keys, processes and hosts: pools under one budget."""

from __future__ import annotations

from avatarpool.fleet.budget import Budget, LocalBudget
from avatarpool.fleet.group import AvatarPoolGroup
from avatarpool.fleet.keys import PoolKey
from avatarpool.fleet.leasing import RedisBudget
from avatarpool.fleet.playback import Played
from avatarpool.fleet.room import Room
from avatarpool.fleet.stats import GroupStats

__all__ = [
    "AvatarPoolGroup",
    "Budget",
    "GroupStats",
    "LocalBudget",
    "Played",
    "PoolKey",
    "RedisBudget",
    "Room",
]
