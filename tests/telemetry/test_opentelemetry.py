"""Pools as OpenTelemetry sees them: the SDK's exporters, and the real local service."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Span, SpanKind, StatusCode, get_current_span
from peer import confirm, peer

from avatarpool import (
    AvatarConnectionPool,
    AvatarSDKError,
    LocalAvatarService,
    PoolError,
    PoolTimeout,
)
from avatarpool.protocol.codec import decode, encode
from avatarpool.protocol.messages import AnimationFrame, AudioInput
from avatarpool.service.faults import SessionFault
from avatarpool.telemetry.opentelemetry import PoolInstrumentation, current_trace_context

POOL = "db.client.connection.pool.name"


class Telemetry:
    """Everything that a test's pools report."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.traces = TracerProvider()
        self.traces.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.metrics = MeterProvider([self._reader])
        self.tracer = self.traces.get_tracer("the application")

    def instrument(self, *pools: AvatarConnectionPool) -> PoolInstrumentation:
        return PoolInstrumentation(*pools, tracer_provider=self.traces, meter_provider=self.metrics)

    def spans(self, name: str) -> list[ReadableSpan]:
        """The spans of that name that have ended, in the order they began."""
        spans = self._exporter.get_finished_spans()
        return sorted((s for s in spans if s.name == name), key=lambda s: s.start_time or 0)

    def span(self, name: str) -> ReadableSpan:
        (span,) = self.spans(name)
        return span

    def points(self) -> dict[tuple[Any, ...], Any]:
        """The metrics' data points by name, unit and attribute values."""
        data = self._reader.get_metrics_data()
        return {
            (metric.name, metric.unit, *point.attributes.values()): point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        }

    def everything(self) -> str:
        spans = "".join(span.to_json() for span in self._exporter.get_finished_spans())
        data = self._reader.get_metrics_data()
        return spans + (data.to_json() if data else "")


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    telemetry = Telemetry()
    yield telemetry
    telemetry.traces.shutdown()
    telemetry.metrics.shutdown()


def is_child(span: ReadableSpan, parent: ReadableSpan | Span) -> bool:
    assert span.context is not None
    there = parent.get_span_context()
    return span.parent == there and span.context.trace_id == there.trace_id


# --- spans ---------------------------------------------------------------------------


async def test_a_borrow_is_a_span_of_the_borrowers_trace_with_its_wait_and_requests(
    service: LocalAvatarService, syllable: bytes, telemetry: Telemetry
):
    async with AvatarConnectionPool(1, service.config_factory, name="eu") as pool:
        telemetry.instrument(pool)
        with telemetry.tracer.start_as_current_span("speak") as speak:
            async with pool.borrow() as conn:
                assert get_current_span() is speak
                ids = []
                for _ in range(2):
                    ids.append(await conn.session.send_audio(syllable, end=True))
                    await conn.collector.wait()
        assert get_current_span() is not speak
    borrow, wait = telemetry.span("avatarpool.borrow"), telemetry.span("avatarpool.wait")
    requests = telemetry.spans("avatarpool.request")
    assert is_child(borrow, speak)
    assert all(is_child(span, borrow) for span in (wait, *requests))
    about = {POOL: "eu", "avatarpool.connection.id": conn.connection_id}
    assert borrow.attributes == wait.attributes == about
    assert [span.attributes for span in requests] == [
        {**about, "avatarpool.request.id": req_id} for req_id in ids
    ]
    assert {span.kind for span in requests} == {SpanKind.CLIENT}
    assert [[event.name for event in span.events] for span in requests] == [["first frame"]] * 2
    for span in (borrow, wait, *requests):
        assert span.status.status_code is StatusCode.UNSET
    assert borrow.start_time == wait.start_time


async def test_concurrent_borrowers_have_their_own_traces(
    service: LocalAvatarService, syllable: bytes, telemetry: Telemetry
):
    async with AvatarConnectionPool(2, service.config_factory) as pool:
        telemetry.instrument(pool)

        async def speak(number: int) -> Span:
            with telemetry.tracer.start_as_current_span(f"speak {number}") as span:
                async with pool.borrow() as conn:
                    await conn.session.send_audio(syllable, end=True)
                    await conn.collector.wait()
            return span

        speakers = await asyncio.gather(*map(speak, range(6)))
    borrows, requests = telemetry.spans("avatarpool.borrow"), telemetry.spans("avatarpool.request")
    for speaker in speakers:
        (borrow,) = [span for span in borrows if is_child(span, speaker)]
        assert sum(is_child(span, borrow) for span in requests) == 1
    assert len(borrows) == len(requests) == 6


async def test_a_borrower_that_gets_nothing_leaves_a_span_with_the_reason(
    service: LocalAvatarService, telemetry: Telemetry
):
    async with AvatarConnectionPool(1, service.config_factory, name="eu") as pool:
        telemetry.instrument(pool)
        async with pool.borrow():
            with pytest.raises(PoolTimeout) as caught:
                await pool.borrow(0.05).__aenter__()
            waiting = asyncio.create_task(pool.borrow(30.0).__aenter__())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
    timed_out, cancelled = [
        span
        for span in telemetry.spans("avatarpool.borrow")
        if "error.type" in (span.attributes or {})
    ]
    assert timed_out.attributes == {POOL: "eu", "error.type": "PoolTimeout"}
    assert timed_out.status.status_code is StatusCode.ERROR
    assert timed_out.status.description == str(caught.value)
    # It is told when it is over, and yet lasts as long as the borrower has waited.
    assert (timed_out.end_time or 0) - (timed_out.start_time or 0) > 0.04e9
    assert cancelled.attributes == {POOL: "eu", "error.type": "CancelledError"}
    assert cancelled.status.status_code is StatusCode.UNSET


async def test_requests_that_come_to_no_answer_say_why(
    service: LocalAvatarService, speech: bytes, telemetry: Telemetry
):
    async with AvatarConnectionPool(1, service.config_factory) as pool:
        telemetry.instrument(pool)
        async with pool.borrow() as conn:
            await conn.session.send_audio(speech, end=True)
            await conn.session.interrupt()
            await conn.session.send_audio(speech)  # left half-sent
        service.faults.sessions = SessionFault(after_frames=1, resets=True)
        async with pool.borrow() as conn:
            await conn.session.send_audio(speech, end=True)
            with pytest.raises(AvatarSDKError) as caught:
                await conn.collector.wait()
        service.faults.sessions = None
    interrupted, half_sent, cut = telemetry.spans("avatarpool.request")
    assert [event.name for event in interrupted.events] == ["interrupted"]
    assert interrupted.status.status_code is StatusCode.UNSET
    assert half_sent.status.status_code is StatusCode.ERROR
    assert "returned before the last frame" in (half_sent.status.description or "")
    assert (cut.attributes or {})["error.type"] == caught.value.code.value
    assert cut.status.description == str(caught.value)
    durations = [key[3:] for key in telemetry.points() if key[0] == "avatarpool.request.duration"]
    assert sorted(durations) == [("SessionStateError",), (caught.value.code.value,)]


async def test_an_exchanged_connection_ends_its_span_and_begins_another(
    service: LocalAvatarService, syllable: bytes, telemetry: Telemetry
):
    async with AvatarConnectionPool(2, service.config_factory) as pool:
        telemetry.instrument(pool)
        async with pool.borrow() as conn:
            dead = conn.connection_id
            await conn._connection.session.close()
            await conn.session.send_audio(syllable, end=True)
            await conn.collector.wait()
    lent = [
        (s.attributes or {})["avatarpool.connection.id"]
        for s in telemetry.spans("avatarpool.borrow")
    ]
    assert lent == [dead, conn.connection_id]
    assert is_child(telemetry.span("avatarpool.request"), telemetry.spans("avatarpool.borrow")[1])


async def test_a_pool_may_be_added_and_removed_in_the_middle_of_a_request(
    service: LocalAvatarService,
    syllable: bytes,
    telemetry: Telemetry,
    caplog: pytest.LogCaptureFixture,
):
    async with AvatarConnectionPool(1, service.config_factory) as pool:
        async with pool.borrow() as conn:
            await conn.session.send_audio(syllable)
            instrumentation = telemetry.instrument(pool)
            await conn.session.send_audio(syllable, end=True)
            await conn.collector.wait()
        async with pool.borrow() as conn:
            await conn.session.send_audio(syllable)
            instrumentation.remove(pool)
            instrumentation.remove(pool)
            await conn.session.send_audio(syllable, end=True)
            await conn.collector.wait()
        assert not pool._lender.listeners.each
        async with pool.borrow():
            pass
    borrow, request = telemetry.span("avatarpool.borrow"), telemetry.span("avatarpool.request")
    assert is_child(request, borrow)
    assert not [key for key in telemetry.points() if key[0] == "db.client.connection.count"]
    assert "on_event" not in caplog.text  # where a listener's failure is logged


async def test_the_current_spans_context_goes_to_the_service_with_the_request(
    telemetry: Telemetry, syllable: bytes
):
    got: list[str] = []

    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        async for message in websocket:
            heard = decode(message.data)
            assert isinstance(heard, AudioInput)
            got.append(heard.traceparent)
            if heard.end:
                await websocket.send_bytes(encode(AnimationFrame(heard.req_id, end=True)))

    async with (
        peer(behave) as there,
        AvatarConnectionPool(
            1, lambda: replace(there, trace_context=current_trace_context)
        ) as pool,
    ):
        telemetry.instrument(pool)
        with telemetry.tracer.start_as_current_span("speak") as speak:
            async with pool.borrow() as conn:
                await conn.session.send_audio(syllable[:4000])
                await conn.session.send_audio(syllable[4000:], end=True)
                await conn.collector.wait()
        async with pool.borrow() as conn:  # in no span
            await conn.session.send_audio(syllable, end=True)
            await conn.collector.wait()
    context = speak.get_span_context()
    first, *others = got
    assert first.startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}-")
    assert others == ["", ""]


# --- metrics -------------------------------------------------------------------------


async def test_the_metrics_have_the_conventions_names_units_and_attributes(
    service: LocalAvatarService, speech: bytes, telemetry: Telemetry
):
    async with (
        AvatarConnectionPool(2, service.config_factory, name="eu") as eu,
        AvatarConnectionPool(1, service.config_factory, name="us") as us,
    ):
        instrumentation = telemetry.instrument(eu)
        instrumentation.add(us)
        instrumentation.add(us)
        async with eu.borrow() as conn:
            await conn.session.send_audio(speech, end=True)
            await conn.collector.wait()
            assert eu.pop_stats()["frames_received"] == 75
            with pytest.raises(PoolTimeout):
                async with us.borrow(), us.borrow(timeout=0.0):
                    pass
            points = telemetry.points()
    values = {key: point.value for key, point in points.items() if hasattr(point, "value")}
    expected = {
        ("db.client.connection.count", "{connection}", "eu", "idle"): 1,
        ("db.client.connection.count", "{connection}", "eu", "used"): 1,
        ("db.client.connection.count", "{connection}", "eu", "draining"): 0,
        ("db.client.connection.count", "{connection}", "us", "idle"): 1,
        ("db.client.connection.idle.min", "{connection}", "eu"): 2,
        ("db.client.connection.max", "{connection}", "us"): 1,
        ("db.client.connection.pending_requests", "{request}", "eu"): 0,
        ("db.client.connection.timeouts", "{timeout}", "us"): 1,
        ("avatarpool.frame.received", "{frame}", "eu"): 75,
    }
    assert {key: values[key] for key in expected} == expected
    counts = {key: point.count for key, point in points.items() if hasattr(point, "count")}
    assert counts == {
        ("db.client.connection.wait_time", "s", "eu"): 1,
        ("db.client.connection.wait_time", "s", "us"): 1,
        ("db.client.connection.use_time", "s", "us"): 1,
        ("avatarpool.request.time_to_first_frame", "s", "eu"): 1,
        ("avatarpool.request.duration", "s", "eu"): 1,
    }


async def test_opening_is_timed_and_failed_requests_have_a_type(
    service: LocalAvatarService, speech: bytes, telemetry: Telemetry
):
    pool = AvatarConnectionPool(2, service.config_factory, name="eu")
    telemetry.instrument(pool)
    async with pool:
        async with pool.borrow() as conn:
            await conn.session.send_audio(speech)
        points = telemetry.points()
    create = points["db.client.connection.create_time", "s", "eu"]
    assert (create.count, create.explicit_bounds[0]) == (2, 0.001)
    assert create.sum * 1000.0 == pytest.approx(pool.get_stats()["connections_ms"])
    assert points["avatarpool.request.duration", "s", "eu", "SessionStateError"].count == 1


# --- what it must not do ---------------------------------------------------------------


async def test_no_secret_gets_into_spans_or_metrics(
    service: LocalAvatarService, syllable: bytes, telemetry: Telemetry
):
    secret = service.environment["AVATAR_API_KEY"]
    async with AvatarConnectionPool(1, service.config_factory) as pool:
        telemetry.instrument(pool)
        async with pool.borrow() as conn:
            await conn.session.send_audio(syllable, end=True)
            await conn.collector.wait()
    wrong = AvatarConnectionPool(
        1, lambda: service.config_factory(api_key="a-wrong-key"), min_size=0
    )
    telemetry.instrument(wrong)
    async with wrong:
        with pytest.raises((AvatarSDKError, PoolError)):
            await wrong.borrow(5.0).__aenter__()
    seen = telemetry.everything()
    assert "avatarpool.request" in seen
    assert "a-wrong-key" not in seen
    assert secret not in seen
