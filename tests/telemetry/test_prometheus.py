"""Pools as Prometheus scrapes them, over the real local service."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from avatarpool import (
    AvatarConnectionPool,
    AvatarSDKError,
    LocalAvatarService,
    PoolTimeout,
    SessionStateError,
)
from avatarpool.service.faults import SessionFault
from avatarpool.telemetry.prometheus import PoolCollector

Samples = dict[tuple[str, ...], float]


def scrape(registry: CollectorRegistry) -> Samples:
    """Return a scrape's samples by name and label values, in the labels' own order."""
    text = generate_latest(registry).decode()
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, *sample.labels.values())
            assert key not in samples
            samples[key] = sample.value
    return samples


def registry_of(*pools: AvatarConnectionPool) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(PoolCollector(*pools))
    return registry


async def speak(pool: AvatarConnectionPool, audio: bytes) -> None:
    async with pool.borrow() as conn:
        await conn.session.send_audio(audio, end=True)
        await conn.collector.wait()


async def test_a_scrape_has_the_conventions_names_and_the_pools_numbers(
    service: LocalAvatarService, speech: bytes
):
    pool = AvatarConnectionPool(
        config_factory=service.config_factory, min_size=2, max_size=4, name="eu"
    )
    registry = registry_of(pool)
    assert scrape(registry)["db_client_connection_count", "eu", "idle"] == 0  # before it opens
    async with pool:
        await speak(pool, speech)
        async with pool.borrow():
            seen = scrape(registry)
    expected = {
        ("db_client_connection_count", "eu", "idle"): 1,
        ("db_client_connection_count", "eu", "used"): 1,
        ("db_client_connection_count", "eu", "draining"): 0,
        ("db_client_connection_idle_min", "eu"): 2,
        ("db_client_connection_max", "eu"): 4,
        ("db_client_connection_pending_requests", "eu"): 0,
        ("db_client_connection_timeouts_total", "eu"): 0,
        ("db_client_connection_create_time_seconds_count", "eu"): 2,
        ("db_client_connection_wait_time_seconds_count", "eu"): 2,
        ("db_client_connection_use_time_seconds_count", "eu"): 1,
        ("avatarpool_connection_attempts_total", "eu"): 2,
        ("avatarpool_borrow_attempts_total", "eu"): 2,
        ("avatarpool_request_begun_total", "eu"): 1,
        ("avatarpool_request_errors_total", "eu"): 0,
        ("avatarpool_request_time_to_first_frame_seconds_count", "eu"): 1,
        ("avatarpool_request_duration_seconds_count", "eu", ""): 1,
        ("avatarpool_frame_received_total", "eu"): 75,
    }
    assert {key: seen[key] for key in expected} == expected
    stats = pool.get_stats()
    use = seen["db_client_connection_use_time_seconds_sum", "eu"]
    assert 0 < use * 1000.0 <= stats["usage_ms"]
    create = seen["db_client_connection_create_time_seconds_sum", "eu"]
    assert create * 1000.0 == pytest.approx(stats["connections_ms"])
    duration = seen["avatarpool_request_duration_seconds_sum", "eu", ""]
    assert duration * 1000.0 == pytest.approx(stats["latency"]["duration_ms"]["max"], rel=0.01)


async def test_waiting_borrowers_and_their_timeouts_are_seen(service: LocalAvatarService):
    async with AvatarConnectionPool(1, service.config_factory, name="eu") as pool:
        registry = registry_of(pool)
        async with pool.borrow():
            waiting = asyncio.create_task(pool.borrow(0.02).__aenter__())
            await asyncio.sleep(0)
            assert scrape(registry)["db_client_connection_pending_requests", "eu"] == 1
            with pytest.raises(PoolTimeout):
                await waiting
        seen = scrape(registry)
    assert seen["db_client_connection_pending_requests", "eu"] == 0
    assert seen["db_client_connection_timeouts_total", "eu"] == 1
    assert seen["avatarpool_borrow_queued_total", "eu"] == 1
    assert seen["avatarpool_borrow_errors_total", "eu"] == 1
    # Who got nothing has not waited for a connection to have.
    assert seen["db_client_connection_wait_time_seconds_count", "eu"] == 1


async def test_counters_go_on_through_pop_stats(service: LocalAvatarService, syllable: bytes):
    async with AvatarConnectionPool(1, service.config_factory, name="eu") as pool:
        registry = registry_of(pool)
        await speak(pool, syllable)
        before = scrape(registry)
        assert pool.pop_stats()["borrows_num"] == 1
        assert pool.get_stats()["borrows_num"] == 0
        assert scrape(registry) == before
        await speak(pool, syllable)
        seen = scrape(registry)
        assert pool.pop_stats()["borrows_num"] == 1
    assert seen["avatarpool_borrow_attempts_total", "eu"] == 2
    assert seen["avatarpool_request_duration_seconds_count", "eu", ""] == 2


async def test_failures_have_a_type_and_interruptions_no_duration(
    service: LocalAvatarService, speech: bytes, syllable: bytes
):
    async with AvatarConnectionPool(1, service.config_factory, name="eu") as pool:
        registry = registry_of(pool)
        async with pool.borrow() as conn:
            await conn.session.send_audio(speech, end=True)
            await conn.session.interrupt()
            await conn.session.send_audio(syllable)  # and no more: half-sent
        service.faults.sessions = SessionFault(after_frames=1, close_code=4503)
        async with pool.borrow() as conn:
            await conn.session.send_audio(speech, end=True)
            with pytest.raises(AvatarSDKError) as caught:
                await conn.collector.wait()
        service.faults.sessions = None
        seen = scrape(registry)
    durations = {
        key[2]: value
        for key, value in seen.items()
        if key[0] == "avatarpool_request_duration_seconds_count"
    }
    assert durations == {"": 0, SessionStateError.__name__: 1, caught.value.code.value: 1}
    assert seen["avatarpool_request_errors_total", "eu"] == 2
    assert seen["avatarpool_borrow_unsettled_total", "eu"] == 1


async def test_one_collector_takes_any_number_of_pools(
    service: LocalAvatarService, syllable: bytes
):
    async with (
        AvatarConnectionPool(1, service.config_factory, name="eu") as eu,
        AvatarConnectionPool(2, service.config_factory, name="us") as us,
    ):
        collector = PoolCollector(eu)
        collector.add(us)
        registry = CollectorRegistry()
        registry.register(collector)
        await speak(us, syllable)
        seen = scrape(registry)
        assert seen["db_client_connection_count", "eu", "idle"] == 1
        assert seen["db_client_connection_count", "us", "idle"] == 2
        assert seen["db_client_connection_use_time_seconds_count", "eu"] == 0
        assert seen["db_client_connection_use_time_seconds_count", "us"] == 1

        other = AvatarConnectionPool(1, service.config_factory, name="eu")
        with pytest.raises(ValueError, match="a pool 'eu' is collected already"):
            collector.add(other)
        collector.remove(other)
        assert scrape(registry)["db_client_connection_count", "eu", "idle"] == 1

        collector.remove(us)
        collector.remove(us)
        assert not [key for key in scrape(registry) if "us" in key]
        assert not us._lender.listeners.each  # and it costs the pool nothing any more
        collector.add(us)
        assert scrape(registry)["db_client_connection_use_time_seconds_count", "us"] == 0


async def test_a_closed_pool_keeps_its_counters(service: LocalAvatarService, syllable: bytes):
    async with AvatarConnectionPool(1, service.config_factory, name="eu") as pool:
        registry = registry_of(pool)
        await speak(pool, syllable)
    seen = scrape(registry)
    assert seen["db_client_connection_count", "eu", "idle"] == 0
    assert seen["avatarpool_request_begun_total", "eu"] == 1


async def test_a_scrape_may_come_from_another_thread(service: LocalAvatarService, syllable: bytes):
    async with AvatarConnectionPool(2, service.config_factory, name="eu") as pool:
        registry = registry_of(pool)
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(speak(pool, syllable))
            scrapes = [group.create_task(asyncio.to_thread(scrape, registry)) for _ in range(10)]
        assert {scraped.result()["db_client_connection_max", "eu"] for scraped in scrapes} == {2}
