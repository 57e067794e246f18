"""Pools in Prometheus' terms (the extra ``prometheus``)."""

from __future__ import annotations

from collections.abc import Iterator

try:
    from prometheus_client import Histogram, Metric
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        "prometheus-client is not installed: install avatarpool's extra 'prometheus'"
    ) from error

from avatarpool.fleet import AvatarPoolGroup
from avatarpool.pool import AvatarConnectionPool, PoolEvent, PoolEventKind
from avatarpool.telemetry.signals import (
    BOUNDARIES,
    COUNTERS,
    DURATIONS,
    GAUGES,
    INTERRUPTED,
    Duration,
    Signal,
    error_type,
    read,
)


class PoolCollector(Collector):
    """Collects the numbers of any number of pools.

    ::

        REGISTRY.register(PoolCollector(pool))

    A registry takes one collector: `add` further pools to it. Gauges and
    counters are read from the pools at each scrape, and counters include what
    was before; histograms count from when a pool is added. A closed pool keeps
    its counters until it is removed.

    Args:
        pools: The first pools, and groups of pools; their names must differ.
    """

    def __init__(self, *pools: AvatarConnectionPool | AvatarPoolGroup) -> None:
        self._watched: dict[str, _Watched] = {}  # by the pool's name
        for pool in pools:
            self.add(pool)

    def add(self, pool: AvatarConnectionPool | AvatarPoolGroup) -> None:
        """Collect one more pool's numbers; those of a group's pools as they come and go.

        Raises:
            ValueError: There is a pool of that name, and no series may occur twice.
        """
        if isinstance(pool, AvatarPoolGroup):
            pool.add_watcher(self)
            return
        if pool.name in self._watched:
            raise ValueError(f"a pool {pool.name!r} is collected already: give each its own name")
        watched = self._watched[pool.name] = _Watched(pool)
        pool.add_listener(watched.observe)

    def remove(self, pool: AvatarConnectionPool | AvatarPoolGroup) -> None:
        """Collect a pool's numbers no more; harmless if it was not there."""
        if isinstance(pool, AvatarPoolGroup):
            pool.remove_watcher(self)
            return
        watched = self._watched.get(pool.name)
        if watched is not None and watched.pool is pool:
            del self._watched[pool.name]
            pool.remove_listener(watched.observe)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with the samples of all pools; any thread may call it."""
        watched = list(self._watched.values())  # a scrape has its own thread
        readings = [(each.pool.name, read(each.pool)) for each in watched]
        for family, signals in ((GaugeMetricFamily, GAUGES), (CounterMetricFamily, COUNTERS)):
            for signal in signals:
                metric = family(_name(signal.name), signal.description, labels=_labels(signal))
                for name, reading in readings:
                    for state, field in signal.fields.items():
                        metric.add_metric([name, state] if state else [name], reading[field])
                yield metric
        for kind, duration in DURATIONS.items():
            histogram = Metric(_name(duration.name) + "_seconds", duration.description, "histogram")
            for each in watched:
                for collected in each.histograms[kind].collect():
                    histogram.samples += collected.samples
            yield histogram


class _Watched:
    """A pool and the histograms of its events."""

    def __init__(self, pool: AvatarConnectionPool) -> None:
        self.pool = pool
        self.histograms = {
            kind: Histogram(
                _name(duration.name) + "_seconds",
                duration.description,
                _labels(duration),
                buckets=BOUNDARIES,
                registry=None,  # collected here, with those of the other pools
            )
            for kind, duration in DURATIONS.items()
        }
        for kind in DURATIONS:
            self._child(kind, "")  # there from the start, at zero

    def observe(self, event: PoolEvent) -> None:
        """Take one event of the pool."""
        if event.kind in DURATIONS and event.reason != INTERRUPTED:
            failure = "" if event.error is None else error_type(event.error)
            self._child(event.kind, failure).observe(event.seconds)

    def _child(self, kind: PoolEventKind, failure: str) -> Histogram:
        """Return the histogram of one duration's labels."""
        labels = [self.pool.name, failure] if DURATIONS[kind].has_errors else [self.pool.name]
        return self.histograms[kind].labels(*labels)


def _name(dotted: str) -> str:
    return dotted.replace(".", "_")


def _labels(source: Signal | Duration) -> list[str]:
    return [_name(attribute) for attribute in source.attribute_names]
