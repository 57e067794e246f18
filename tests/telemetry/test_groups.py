"""Groups of pools in what watches pools: each key's, as pools come and go."""

from __future__ import annotations

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest

from avatarpool import AvatarPoolGroup, LocalAvatarService, LocalBudget
from avatarpool.telemetry.opentelemetry import PoolInstrumentation
from avatarpool.telemetry.prometheus import PoolCollector


def group_of(service: LocalAvatarService) -> AvatarPoolGroup:
    given = service.config_factory()
    return AvatarPoolGroup(
        lambda key: given, budget=LocalBudget(3), min_hold=0.0, max_idle=0.0, name="faces"
    )


async def test_prometheus_scrapes_the_pools_of_a_group(service: LocalAvatarService, speech: bytes):
    registry = CollectorRegistry()
    collector = PoolCollector()
    registry.register(collector)
    avatar = service.avatar_ids[0]
    async with group_of(service) as group:
        async with group.borrow(avatar):
            pass
        collector.add(group)
        async with group.borrow(avatar) as conn:
            await conn.session.send_audio(speech, end=True)
            await conn.collector.wait()
            text = generate_latest(registry).decode()
        assert (
            f'db_client_connection_max{{db_client_connection_pool_name="faces/{avatar}/16000"}}'
            in text
        )
        async with group.borrow(avatar, sample_rate=24000):
            assert f'"faces/{avatar}/24000"' in generate_latest(registry).decode()
        collector.remove(group)
        assert '"faces/' not in generate_latest(registry).decode()


async def test_opentelemetry_reports_the_pools_of_a_group(service: LocalAvatarService):
    reader = InMemoryMetricReader()
    avatar = service.avatar_ids[0]
    group = group_of(service)
    PoolInstrumentation(group, meter_provider=MeterProvider([reader]))
    async with group:
        async with group.borrow(avatar), group.borrow(avatar, sample_rate=24000):
            told = reader.get_metrics_data().to_json()
    for rate in (16000, 24000):
        assert f'"faces/{avatar}/{rate}"' in told
