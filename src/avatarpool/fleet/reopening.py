"""Whether a room's session that is gone is opened again: the vendor's rules. Pure.

What only time or another connection mends is tried again, at the pool's pace: a broken or
lost connection, silence, age, a full account, a service that is briefly unable. What the
service would refuse again is not: a token or application that it does not take, an account
that has to be paid, an avatar or a room that cannot be.
"""

from __future__ import annotations

from avatarpool.exceptions import AvatarSDKError, AvatarSDKErrorCode, ConfigurationError
from avatarpool.pool.opening import is_stale_token

_FINAL = frozenset(
    {
        AvatarSDKErrorCode.sessionTokenExpired,
        AvatarSDKErrorCode.sessionTokenInvalid,
        AvatarSDKErrorCode.appIDUnrecognized,
        AvatarSDKErrorCode.appIDMismatch,
        AvatarSDKErrorCode.billingRequired,
        AvatarSDKErrorCode.creditsExhausted,
        AvatarSDKErrorCode.avatarNotFound,
        AvatarSDKErrorCode.unsupportedSampleRate,
        AvatarSDKErrorCode.invalidEgressConfig,
        AvatarSDKErrorCode.invalidRequest,
    }
)


class Reopening:
    """Decides for one room, from what becomes of its sessions and of attempts to open one."""

    def __init__(self) -> None:
        self._was_stale = False  # whether a fresh token was not taken since the latest session

    def opened(self) -> None:
        """A session was opened."""
        self._was_stale = False

    def may_follow(self, error: BaseException | None) -> bool:
        """Whether a session may follow one that was lost, or an attempt that failed.

        A service that restarts refuses tokens of its former self: only a second fresh one
        that it does not take is its last word.

        Args:
            error: Why; None: it was closed from here.
        """
        if isinstance(error, ConfigurationError):
            return False
        if not isinstance(error, AvatarSDKError):
            return True
        if error.retryable or error.code not in _FINAL:
            return True
        was_stale = self._was_stale
        self._was_stale = error.phase != "websocket_runtime" and is_stale_token(error)
        return self._was_stale and not was_stale
