"""The table of faults: our pool survives all of it, the official examples' design does not."""

from __future__ import annotations

import pytest
from faults import survival
from faults.survival import SCENARIOS, naive, ours, verdict, verdicts

from avatarpool import new_avatar_session


async def test_our_pool_survives_every_fault(monkeypatch: pytest.MonkeyPatch):
    # All scenarios run at once, on a machine that may be busy.
    monkeypatch.setattr(survival, "PATIENCE", 15.0)
    monkeypatch.setattr(survival, "HEALING", 30.0)
    assert {name: why for name, why in (await verdicts(ours)).items() if why} == {}


async def test_the_table_tells_designs_apart():
    design = naive(new_avatar_session)
    assert await verdict(SCENARIOS["no fault, many borrowers"], design) == ""
    assert "TimeoutError" in await verdict(SCENARIOS["closing: who waits is told"], design)
