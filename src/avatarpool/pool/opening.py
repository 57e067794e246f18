"""When connections may be opened: backoff, and a breaker after a refusal. Pure."""

from __future__ import annotations

import random

from avatarpool.exceptions import AvatarSDKError, AvatarSDKErrorCode

FIRST_DELAY = 0.5
"""Seconds before the first retry; doubled per step."""

MAX_DELAY = 30.0
"""Seconds between retries at the most."""

MAX_DELAY_WITH_WAITERS = 5.0
"""The same while borrowers wait."""

PROBATION = 1.0
"""Seconds that a connection must live, or answer a request, to show that opening works."""


class OpeningPolicy:
    """Decides how many attempts may start now.

    Attempts that run side by side belong to one step: however many of them
    fail, the delay grows once. After a transient failure the next step may
    try every missing connection once. After a refusal (the service said no in
    a way that a retry does not change: credits, a bad key, the plan's limit)
    the breaker is open: one probe per step, until one succeeds.

    Args:
        rng: Source of the jitter; each delay is scaled by 0.5 to 1, so that
            pools which failed together do not return together.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._step = 0
        self._failures = 0  # steps that failed in a row
        self._failures_before = 0  # ... until the latest success, which may prove none
        self._failed_at = 0.0
        self._attempts_left: int | None = None  # None: as many as are missing
        self._stale_step: int | None = None  # the first whose tokens were not taken
        self.next_at = 0.0  # when the next attempt may start
        self.failing_since: float | None = None
        self.error: Exception | None = None  # the latest, until one succeeds
        self.refusal: Exception | None = None  # while the breaker is open

    def __repr__(self) -> str:
        breaker = "open" if self.refusal else "closed"
        return f"<OpeningPolicy breaker {breaker}, {self._failures} steps failed>"

    def allows(self, now: float, missing: int, opening: int) -> int:
        """Return how many attempts may start now."""
        if missing <= 0 or now < self.next_at:
            return 0
        if self.refusal is not None:
            return 0 if opening else 1
        if self._failures and self._attempts_left is not None:
            return min(missing, self._attempts_left)
        return missing

    def take(self, now: float, missing: int, opening: int) -> int:
        """Return how many attempts to start now, and count on their being started."""
        number = self.allows(now, missing, opening)
        if number and self._failures and self.refusal is None:
            left = missing if self._attempts_left is None else self._attempts_left
            self._attempts_left = left - number
        return number

    def undecided(self, *, step: int) -> None:
        """An attempt of ``step`` told nothing of the service: another may take its place."""
        if step == self._step and self._attempts_left is not None:
            self._attempts_left += 1

    @property
    def step(self) -> int:
        """The step that an attempt started now belongs to."""
        return self._step

    def succeeded(self) -> None:
        """An attempt gave a connection: all is well again."""
        self._failures_before = max(self._failures, self._failures_before)
        self._failures = 0
        self._attempts_left = self._stale_step = None
        self.next_at = 0.0
        self.failing_since = self.error = self.refusal = None

    def slot_freed(self, now: float) -> None:
        """A connection of ours has closed: where the plan's limit refused, try again now."""
        if self.refusal is not None and is_account_full(self.refusal):
            self.next_at = min(self.next_at, now)

    def proved(self) -> None:
        """Connections have served since the last one died: what failed before is over."""
        self._failures_before = 0

    def died(self, error: Exception, *, age: float, now: float) -> None:
        """A connection died unused: if it was young, opening another at once is no remedy.

        A service that takes sessions and ends them would be hammered otherwise.
        """
        if age >= PROBATION:
            return
        # Such a service answers: waiting for longer than 4 s would spare it little.
        self._failures = min(max(self._failures, self._failures_of_late(now)), 3)
        # Several that die together are one step.
        self.failed(error, step=self._step if now >= self.next_at else -1, now=now)

    def unfit(self, error: Exception, *, now: float, step: int | None = None) -> None:
        """A connection was opened, and the user's check would not have it.

        To open another one proves nothing either: what failed before counts on.
        Several that are looked at in one step count once.
        """
        self._failures = max(self._failures, self._failures_of_late(now))
        if step is None:
            step = self._step if now >= self.next_at else -1
        self.failed(error, step=step, now=now)

    def _failures_of_late(self, now: float) -> int:
        return self._failures_before if now - self._failed_at <= 2.0 * MAX_DELAY else 0

    def hurry(self, now: float) -> None:
        """Borrowers wait: let the next attempt be soon."""
        if self.next_at > now + MAX_DELAY_WITH_WAITERS:
            self.next_at = now + MAX_DELAY_WITH_WAITERS * self._rng.uniform(0.5, 1.0)

    def failed(self, error: Exception, *, step: int, now: float) -> None:
        """An attempt of ``step`` failed."""
        self.error = error
        if self.failing_since is None:
            self.failing_since = now
        # A service that restarts refuses tokens of its former self: with a fresh
        # one the next step may succeed, so that only a second step counts.
        is_stale = is_stale_token(error)
        if is_stale and self._stale_step is None:
            self._stale_step = step
        if is_refusal(error) and not (is_stale and step == self._stale_step):
            self.refusal = error
        if step != self._step:
            return
        self._step += 1
        self._failed_at = now
        self._failures += 1
        self._attempts_left = None
        delay = min(MAX_DELAY, FIRST_DELAY * 2.0 ** min(self._failures - 1, 16))
        self.next_at = now + delay * self._rng.uniform(0.5, 1.0)


def is_stale_token(error: Exception) -> bool:
    """Whether the ingress did not take a token that the console had just given."""
    return (
        isinstance(error, AvatarSDKError)
        and error.phase != "session_token"
        and error.code
        in (AvatarSDKErrorCode.sessionTokenInvalid, AvatarSDKErrorCode.sessionTokenExpired)
    )


def is_account_full(error: Exception) -> bool:
    """Whether the account has as many sessions as it allows, ours and others'."""
    return isinstance(error, AvatarSDKError) and error.code is AvatarSDKErrorCode.concurrencyLimit


def is_refusal(error: Exception) -> bool:
    """Whether trying again at once and at every missing place would be hammering.

    Everything that is not known to be transient counts: a wrong configuration
    does not heal by itself either.
    """
    return not (isinstance(error, AvatarSDKError) and error.retryable)
