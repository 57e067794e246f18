"""``/healthz``, ``/readyz`` and ``/metrics``: what watches the gateway asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from avatarpool.exceptions import AvatarSDKError, AvatarSDKErrorCode
from avatarpool.fleet import AvatarPoolGroup
from avatarpool.gateway import failures, problems
from avatarpool.gateway.authentication import Authentication
from avatarpool.gateway.exchange import Exchange
from avatarpool.gateway.failures import Failure
from avatarpool.gateway.problems import Refused

try:
    import prometheus_client as prometheus
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.exposition import choose_encoder

    from avatarpool.telemetry.prometheus import PoolCollector
except ImportError:
    _HAS_PROMETHEUS = False
else:
    _HAS_PROMETHEUS = True

_NO_STORE = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class Gauged:
    """What the metrics are read from, beside the group and the exchange.

    Attributes:
        connections: Clients' connections, by kind.
        upgrades_refused: At the ingress, by status.
        refused: Requests over HTTP that were answered with a problem, by code.
    """

    connections: Callable[[], dict[str, int]]
    upgrades_refused: dict[int, int]
    refused: Counter[str]


class Health:
    """Answers what watches.

    Args:
        exchange: What is watched.
        authentication: Who may see the metrics.
        gauged: What else is.
    """

    def __init__(self, exchange: Exchange, authentication: Authentication, gauged: Gauged) -> None:
        self._exchange = exchange
        self._authentication = authentication
        self._registry: Any = None
        if _HAS_PROMETHEUS:
            self._registry = prometheus.CollectorRegistry(auto_describe=False)
            self._pools = PoolCollector(exchange.group)
            self._registry.register(self._pools)
            self._registry.register(_Collector(exchange, gauged))

    def close(self) -> None:
        """Watch the pools no more."""
        if self._registry is not None:
            self._pools.remove(self._exchange.group)

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get("/healthz", self.healthz)
        app.router.add_get("/readyz", self.readyz)
        app.router.add_get("/metrics", self.metrics)

    async def healthz(self, _request: web.Request) -> web.Response:
        """Say that the process answers."""
        return web.json_response({"status": "ok"}, headers=_NO_STORE)

    async def readyz(self, _request: web.Request) -> web.Response:
        """Say whether a request that came now would be served."""
        failure = unready(self._exchange)
        if failure is not None:
            raise Refused(failure)
        return web.json_response({"status": "ready"}, headers=_NO_STORE)

    async def metrics(self, request: web.Request) -> web.Response:
        """Return all metrics, as Prometheus reads them."""
        self._authentication.check_looks(request)
        if self._registry is None:
            raise problems.refused(
                "notInstalled", 501, "metrics need the extra 'prometheus' where the gateway runs"
            )
        write, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(
            body=write(self._registry), headers=_NO_STORE | {"Content-Type": content_type}
        )


def unready(exchange: Exchange) -> Failure | None:
    """Return why no request would be served now."""
    if exchange.is_draining:
        return failures.CLOSING
    if exchange.is_paused:
        return failures.PAUSED
    return failures.UNAVAILABLE if _is_refused(exchange.group) else None


def _is_refused(group: AvatarPoolGroup) -> bool:
    """Whether there is no session, and the service has refused the account for good.

    That it does not know an avatar says nothing of the others.
    """
    pools = group.pools.values()
    if any(pool.get_stats()["connections"] for pool in pools):
        return False
    errors = [pool.last_open_error for pool in pools]
    return any(
        isinstance(error, AvatarSDKError)
        and not error.retryable
        and error.code is not AvatarSDKErrorCode.avatarNotFound
        for error in errors
    )


class _Collector:
    """Collects the gateway's own numbers, read at each scrape."""

    def __init__(self, exchange: Exchange, gauged: Gauged) -> None:
        self._exchange = exchange
        self._gauged = gauged

    def collect(self) -> Iterator[Any]:
        """Yield every metric."""
        exchange, gauged = self._exchange, self._gauged
        clients = list(exchange.clients)
        yield _counter(
            "requests",
            "Requests that were let through.",
            "client",
            {each.name: each.requests for each in clients},
        )
        yield _counter(
            "audio_seconds",
            "Audio of requests that are over.",
            "client",
            {each.name: each.audio_seconds for each in clients},
        )
        yield _gauge(
            "requests_running",
            "Requests whose turn it is.",
            "client",
            {each.name: each.running for each in clients},
        )
        yield _gauge(
            "requests_waiting",
            "Requests whose turn has not come.",
            "client",
            {each.name: each.waiting for each in clients},
        )
        refused = CounterMetricFamily(
            "avatarpool_gateway_requests_refused",
            "Requests that were refused or failed, by why.",
            labels=["client", "code"],
        )
        for each in clients:
            for code, count in each.refused.items():
                refused.add_metric([each.name, code], count)
        yield refused
        yield _counter("problems", "Answers over HTTP that were problems.", "code", gauged.refused)
        yield _counter(
            "upgrades_refused",
            "Upgrades refused at the ingress.",
            "status",
            {str(status): count for status, count in gauged.upgrades_refused.items()},
        )
        yield _gauge("connections", "Clients' connections.", "kind", gauged.connections())
        resent = CounterMetricFamily(
            "avatarpool_gateway_requests_resent", "Requests whose session was lost, sent again."
        )
        resent.add_metric([], exchange.resent)
        yield resent


def _counter(name: str, what: str, label: str, counts: dict[str, Any]) -> Any:
    return _filled(CounterMetricFamily(f"avatarpool_gateway_{name}", what, labels=[label]), counts)


def _gauge(name: str, what: str, label: str, counts: dict[str, Any]) -> Any:
    return _filled(GaugeMetricFamily(f"avatarpool_gateway_{name}", what, labels=[label]), counts)


def _filled(metric: Any, counts: dict[str, Any]) -> Any:
    for value, count in counts.items():
        metric.add_metric([value], count)
    return metric
