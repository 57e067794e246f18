"""One borrowed request: its times, its frames, and the one place where it ends."""

from __future__ import annotations

from typing import Protocol

from avatarpool.pool.events import Playback
from avatarpool.pool.events import PoolEventKind as Kind
from avatarpool.pool.meter import Meter
from avatarpool.pool.receiving import Reception


class Teller(Protocol):
    """Who counts a request and tells of it."""

    meter: Meter

    def tell(
        self,
        kind: Kind,
        connection_id: str = "",
        reason: str = "",
        seconds: float = 0.0,
        error: BaseException | None = None,
        *,
        playback: Playback | None = None,
    ) -> None:
        """Pass an event on to whoever follows the pool."""


class Served(Protocol):
    """What a request is made on."""

    request_count: int

    @property
    def connection_id(self) -> str:
        """The service's name for it."""


class Request:
    """A request from its first audio to its end, whatever that is.

    Whatever takes its frames, the statistics and the events learn of the same end:
    here, and nowhere else.

    Args:
        teller: Who counts it and tells of it.
        connection: What it is made on.
        req_id: Its id.
        reception: Where its frames go.
        began_at: Now, by the event loop's clock.

    Attributes:
        error: Why it failed, once it has.
    """

    __slots__ = (
        "_connection",
        "_started",
        "_teller",
        "began_at",
        "error",
        "has_frames",
        "is_over",
        "reception",
        "req_id",
    )

    def __init__(
        self,
        teller: Teller,
        connection: Served,
        req_id: str,
        reception: Reception,
        began_at: float,
    ) -> None:
        self._teller = teller
        self._connection = connection
        self._started = teller.meter.clock()
        self.began_at = began_at
        self.req_id = req_id
        self.reception = reception
        self.error: Exception | None = None
        self.has_frames = False
        self.is_over = False
        teller.meter.counters.requests_num += 1
        teller.tell(Kind.REQUEST_BEGAN, connection.connection_id, req_id)

    def first_frame(self) -> None:
        """Record that frames have begun to come."""
        self.has_frames = True
        meter = self._teller.meter
        elapsed = meter.clock() - self._started
        meter.first_frame.add(elapsed)
        self._teller.tell(Kind.FIRST_FRAME, self._connection.connection_id, "", elapsed)

    def end(self, error: Exception | None = None, *, reason: str = "") -> None:
        """End it, once: answered, unless an error or another reason is given."""
        if self.is_over:
            return
        self.is_over = True
        self.error = error
        self.reception.finish(error)
        meter = self._teller.meter
        elapsed = meter.clock() - self._started
        if error is not None:
            meter.counters.requests_errors += 1
        elif not reason:
            self._connection.request_count += 1
            meter.request_served(elapsed)
        self._teller.tell(
            Kind.REQUEST_ENDED, self._connection.connection_id, reason, elapsed, error
        )
