"""Pools in OpenTelemetry's terms (the extra ``opentelemetry``): spans and metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version

try:
    from opentelemetry import metrics, trace
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, TracerProvider
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise ImportError(
        "opentelemetry-api is not installed: install avatarpool's extra 'opentelemetry'"
    ) from error

from avatarpool.fleet import AvatarPoolGroup
from avatarpool.pool import AvatarConnectionPool, PoolEvent
from avatarpool.pool.events import PoolEventKind as Kind
from avatarpool.telemetry.signals import (
    BOUNDARIES,
    COUNTERS,
    DURATIONS,
    ERROR_TYPE,
    GAUGES,
    INTERRUPTED,
    POOL_NAME,
    STATE,
    Signal,
    error_type,
    read,
)

CONNECTION_ID = "avatarpool.connection.id"
REQUEST_ID = "avatarpool.request.id"


class PoolInstrumentation:
    """Makes spans and metrics of any number of pools.

    ::

        PoolInstrumentation(pool)

    Make one for a process, and `add` further pools to it: of two that report the
    same metrics, OpenTelemetry ignores the second. Until the application sets a
    provider, whatever is reported goes nowhere.

    Each borrow is a span ``avatarpool.borrow``, from asking to the return, whose
    parent is the borrower's current span. In it are ``avatarpool.wait`` and, for
    each request, ``avatarpool.request``, from its first audio to its last frame.
    No span becomes the current one.

    Args:
        pools: The first pools, and groups of pools.
        tracer_provider: Where spans go; left out, the global one.
        meter_provider: Where metrics go; left out, the global one.
    """

    def __init__(
        self,
        *pools: AvatarConnectionPool | AvatarPoolGroup,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        release = version("avatarpool")
        self._tracer = trace.get_tracer("avatarpool", release, tracer_provider)
        self._spans: dict[AvatarConnectionPool, _PoolSpans] = {}
        meter = metrics.get_meter("avatarpool", release, meter_provider)
        for signals, create in (
            (GAUGES, meter.create_observable_up_down_counter),
            (COUNTERS, meter.create_observable_counter),
        ):
            for signal in signals:
                create(
                    signal.name, [partial(self._observe, signal)], signal.unit, signal.description
                )
        self._histograms = {
            kind: meter.create_histogram(
                duration.name,
                "s",
                duration.description,
                explicit_bucket_boundaries_advisory=BOUNDARIES,
            )
            for kind, duration in DURATIONS.items()
        }
        for pool in pools:
            self.add(pool)

    def add(self, pool: AvatarConnectionPool | AvatarPoolGroup) -> None:
        """Report one more pool, or a group's as they come and go; harmless if it is there."""
        if isinstance(pool, AvatarPoolGroup):
            pool.add_watcher(self)
        elif pool not in self._spans:
            spans = self._spans[pool] = _PoolSpans(self._tracer)
            pool.add_listener(spans.follow)
            pool.add_listener(self._record)

    def remove(self, pool: AvatarConnectionPool | AvatarPoolGroup) -> None:
        """Report a pool no more; harmless if it was not there."""
        if isinstance(pool, AvatarPoolGroup):
            pool.remove_watcher(self)
            return
        spans = self._spans.pop(pool, None)
        if spans is not None:
            pool.remove_listener(spans.follow)
            pool.remove_listener(self._record)
            spans.end()

    def _record(self, event: PoolEvent) -> None:
        histogram = self._histograms.get(event.kind)
        if histogram is not None and event.reason != INTERRUPTED:
            attributes = {POOL_NAME: event.pool}
            if event.error is not None:
                attributes[ERROR_TYPE] = error_type(event.error)
            histogram.record(event.seconds, attributes)

    def _observe(self, signal: Signal, options: CallbackOptions) -> Iterator[Observation]:  # noqa: ARG002
        for pool in list(self._spans):  # an exporter has its own thread
            reading = read(pool)
            for state, field in signal.fields.items():
                attributes = {POOL_NAME: pool.name}
                if state:
                    attributes[STATE] = state
                yield Observation(reading[field], attributes)


class _PoolSpans:
    """The open spans of one pool, by connection.

    A pool tells of a borrow once it has waited, in the borrower's own task: its
    spans begin in the past, and find the borrower's context.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._borrows: dict[str, Span] = {}
        self._requests: dict[str, Span] = {}

    def follow(self, event: PoolEvent) -> None:
        """Take one event of the pool."""
        connection_id = event.connection_id
        if event.kind is Kind.LENT:
            self._borrows[connection_id] = self._borrow(event)
        elif event.kind is Kind.NOT_LENT:
            _end(self._borrow(event), event)
        elif event.kind is Kind.RETURNED:
            _end(self._borrows.pop(connection_id, None), event)
        elif event.kind is Kind.REQUEST_BEGAN:
            self._requests[connection_id] = self._request(event)
        elif event.kind is Kind.FIRST_FRAME and connection_id in self._requests:
            self._requests[connection_id].add_event("first frame")
        elif event.kind is Kind.REQUEST_ENDED:
            _end(self._requests.pop(connection_id, None), event)

    def end(self) -> None:
        """End what is open: nobody will tell of it any more."""
        for span in (*self._requests.values(), *self._borrows.values()):
            span.end()

    def _borrow(self, event: PoolEvent) -> Span:
        """Begin the span of a borrow that has waited already."""
        now = time.time_ns()
        start = now - int(event.seconds * 1e9)
        attributes = _attributes(event)
        span = self._tracer.start_span("avatarpool.borrow", attributes=attributes, start_time=start)
        wait = self._tracer.start_span(
            "avatarpool.wait",
            trace.set_span_in_context(span),
            attributes=attributes,
            start_time=start,
        )
        wait.end(now)
        return span

    def _request(self, event: PoolEvent) -> Span:
        borrow = self._borrows.get(event.connection_id)
        return self._tracer.start_span(
            "avatarpool.request",
            None if borrow is None else trace.set_span_in_context(borrow),
            SpanKind.CLIENT,
            {**_attributes(event), REQUEST_ID: event.reason},
        )


def current_trace_context() -> dict[str, str]:
    """Return the current span's W3C trace context, for ``SessionConfig.trace_context``.

    It is asked for in the borrower's task as a request begins, so that what the
    service does for the request becomes part of the borrower's trace.
    """
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier


def _attributes(event: PoolEvent) -> dict[str, str]:
    attributes = {POOL_NAME: event.pool}
    if event.connection_id:
        attributes[CONNECTION_ID] = event.connection_id
    return attributes


def _end(span: Span | None, event: PoolEvent) -> None:
    if span is None:  # it began before the pool was added
        return
    if event.error is not None:
        span.set_attribute(ERROR_TYPE, error_type(event.error))
        if isinstance(event.error, Exception):  # to be cancelled is no failure
            span.set_status(StatusCode.ERROR, str(event.error))
    elif event.reason:
        span.add_event(event.reason)
    span.end()
