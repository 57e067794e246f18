from __future__ import annotations

import pytest

from avatarpool.exceptions import AvatarSDKError, AvatarSDKErrorCode
from avatarpool.pool.collection import Collection, CollectionLimits
from avatarpool.pool.events import PoolEventKind as Kind
from avatarpool.pool.meter import Meter
from avatarpool.pool.request import Request
from avatarpool.protocol.messages import AnimationFrame

FAILURE = AvatarSDKError(AvatarSDKErrorCode.upstreamError, "gone")
OTHER = AvatarSDKError(AvatarSDKErrorCode.connectionClosed, "gone, too")


class Pool:
    """Counts with a clock that a test sets, and notes what it is told."""

    def __init__(self) -> None:
        self.meter = Meter()
        self.time = 0.0
        self.meter.clock = lambda: self.time  # type: ignore[assignment]
        self.told: list[tuple[object, ...]] = []

    def tell(
        self,
        kind: Kind,
        connection_id: str = "",
        reason: str = "",
        seconds: float = 0.0,
        error: BaseException | None = None,
    ) -> None:
        self.told.append((kind, connection_id, reason, seconds, error))


class Connection:
    connection_id = "c-1"
    request_count = 0


@pytest.fixture
def pool() -> Pool:
    return Pool()


@pytest.fixture
def connection() -> Connection:
    return Connection()


@pytest.fixture
def request_(pool: Pool, connection: Connection) -> Request:
    collection = Collection(CollectionLimits())
    collection.req_id = "r-1"
    return Request(pool, connection, "r-1", collection, began_at=7.0)


def counted(pool: Pool) -> tuple[int, int, int]:
    """Requests that were begun, that failed and that were answered."""
    counters = pool.meter.counters
    return counters.requests_num, counters.requests_errors, pool.meter.served


def test_a_request_is_counted_and_told_as_it_begins(pool: Pool, request_: Request):
    assert counted(pool) == (1, 0, 0)
    assert pool.told == [(Kind.REQUEST_BEGAN, "c-1", "r-1", 0.0, None)]
    assert request_.began_at == 7.0
    assert not request_.has_frames
    assert not request_.is_over


def test_its_first_frame_is_told_with_the_seconds_it_took(pool: Pool, request_: Request):
    pool.time = 1.5
    request_.first_frame()
    assert request_.has_frames
    assert pool.told[1:] == [(Kind.FIRST_FRAME, "c-1", "", 1.5, None)]
    assert pool.meter.first_frame.summary()["max"] == 1500.0


def test_an_answered_request_is_served(pool: Pool, connection: Connection, request_: Request):
    pool.time = 3.0
    request_.reception.add(AnimationFrame("r-1", end=True))
    request_.end()
    assert counted(pool) == (1, 0, 1)
    assert connection.request_count == 1
    assert pool.meter.duration.summary()["max"] == 3000.0
    assert pool.told[1:] == [(Kind.REQUEST_ENDED, "c-1", "", 3.0, None)]
    assert (request_.reception.is_done, request_.reception.error) == (True, None)


def test_a_failed_request_fails_its_borrower_and_is_an_error(
    pool: Pool, connection: Connection, request_: Request
):
    pool.time = 3.0
    request_.end(FAILURE)
    assert counted(pool) == (1, 1, 0)
    assert connection.request_count == 0
    assert pool.meter.duration.count == 0
    assert pool.told[1:] == [(Kind.REQUEST_ENDED, "c-1", "", 3.0, FAILURE)]
    assert request_.reception.error is FAILURE


def test_an_interrupted_request_is_neither_served_nor_an_error(
    pool: Pool, connection: Connection, request_: Request
):
    request_.end(reason="interrupted")
    assert counted(pool) == (1, 0, 0)
    assert connection.request_count == 0
    assert pool.meter.duration.count == 0
    assert pool.told[1:] == [(Kind.REQUEST_ENDED, "c-1", "interrupted", 0.0, None)]
    assert (request_.reception.is_done, request_.reception.error) == (True, None)


@pytest.mark.parametrize("first", [None, FAILURE])
def test_a_request_ends_once_as_it_ended_first(
    pool: Pool, request_: Request, first: AvatarSDKError | None
):
    request_.end(first)
    before, told = counted(pool), list(pool.told)
    request_.end(OTHER)
    request_.end()
    request_.end(reason="interrupted")
    assert counted(pool) == before
    assert pool.told == told
    assert request_.reception.error is first
