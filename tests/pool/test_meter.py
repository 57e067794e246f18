"""What a pool counts."""

from __future__ import annotations

import asyncio

import pytest
from clock import now, virtually
from scripted import Script, hold, new_pool


@virtually
async def test_stats_count_and_pop_stats_starts_anew():
    script = Script()
    async with new_pool(script, 1) as pool:
        pool.meter.clock = now
        async with pool.borrow() as conn:
            asyncio.get_running_loop().call_later(
                1.0, lambda: script.sessions[0].frame(conn.collector.req_id or "")
            )
            asyncio.get_running_loop().call_later(
                3.0, lambda: script.sessions[0].frame(conn.collector.req_id or "", end=True)
            )
            await conn.session.send_audio(b"\0\0", end=True)
            assert len(await conn.collector.wait()) == 2
        lent = asyncio.gather(hold(pool, 2.0), hold(pool, 0.0))
        await asyncio.sleep(0.5)
        (connection,) = pool.get_stats()["connections"]
        assert (connection["state"], connection["state_seconds"]) == ("lent", pytest.approx(0.5))
        await lent
        stats = pool.pop_stats()
        assert stats["total_requests_served"] == 1
        assert stats["connections"] == [
            {
                "connection_id": "scripted-0",
                "request_count": 1,
                "age_seconds": pytest.approx(5.0),
                "state": "idle",
                "state_seconds": pytest.approx(0.0),
            }
        ]
        assert (stats["borrows_num"], stats["borrows_queued"]) == (3, 1)
        assert stats["borrows_wait_ms"] == pytest.approx(2000.0)
        assert stats["usage_ms"] == pytest.approx(5000.0)
        assert stats["usage_ms_squared"] == pytest.approx(3000.0**2 + 2000.0**2)
        assert stats["returns_num"] == 3
        assert stats["latency"]["first_frame_ms"]["p50"] == pytest.approx(1000.0)
        assert stats["latency"]["duration_ms"]["p99"] == pytest.approx(3000.0)
        assert stats["latency"]["wait_ms"]["max"] == pytest.approx(2000.0)
        again = pool.get_stats()
        assert (again["borrows_num"], again["usage_ms"]) == (0, 0.0)
        assert again["latency"]["wait_ms"]["count"] == 0
        assert again["total_requests_served"] == 1
        assert pool.meter.totals()["borrows_num"] == 3
