"""avatarpool: warm avatar sessions, lent one request at a time.

Importing this loads nothing: each name brings its module along when it is asked for.
"""

from __future__ import annotations

from importlib import import_module

# What type checkers take for true. Python's own comes with the whole of typing, and the
# command must hear Ctrl-C before anything that takes its time.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from avatarpool.client.session import AvatarSession, new_avatar_session
    from avatarpool.config import OggOpusEncoderConfig, SessionConfig
    from avatarpool.exceptions import (
        AudioError,
        AvatarPoolError,
        AvatarSDKError,
        AvatarSDKErrorCode,
        CloseCode,
        ConfigurationError,
        ConnectionGone,
        PoolClosed,
        PoolError,
        PoolTimeout,
        RequestTimeout,
        SessionNotReady,
        SessionStateError,
        SessionTokenError,
        TooManyRequests,
    )
    from avatarpool.fleet import (
        AvatarPoolGroup,
        LocalBudget,
        Played,
        PoolKey,
        RedisBudget,
        Room,
    )
    from avatarpool.pool import (
        AvatarConnectionPool,
        LentSession,
        PooledConnection,
        PoolEvent,
        PoolEventKind,
    )
    from avatarpool.pool.collector import AnimationCollector
    from avatarpool.protocol.frames import keyframes_of
    from avatarpool.protocol.keyframes import Keyframe
    from avatarpool.protocol.messages import AnimationFrame, PlaybackState
    from avatarpool.protocol.request_ids import generate_log_id
    from avatarpool.protocol.settings import AgoraEgressConfig, AudioFormat, LiveKitEgressConfig
    from avatarpool.service import LocalAvatarService
    from avatarpool.stats import PoolStats

    __version__: str

__all__ = [
    "AgoraEgressConfig",
    "AnimationCollector",
    "AnimationFrame",
    "AudioError",
    "AudioFormat",
    "AvatarConnectionPool",
    "AvatarPoolError",
    "AvatarPoolGroup",
    "AvatarSDKError",
    "AvatarSDKErrorCode",
    "AvatarSession",
    "CloseCode",
    "ConfigurationError",
    "ConnectionGone",
    "Keyframe",
    "LentSession",
    "LiveKitEgressConfig",
    "LocalAvatarService",
    "LocalBudget",
    "OggOpusEncoderConfig",
    "PlaybackState",
    "Played",
    "PoolClosed",
    "PoolError",
    "PoolEvent",
    "PoolEventKind",
    "PoolKey",
    "PoolStats",
    "PoolTimeout",
    "PooledConnection",
    "RedisBudget",
    "RequestTimeout",
    "Room",
    "SessionConfig",
    "SessionNotReady",
    "SessionStateError",
    "SessionTokenError",
    "TooManyRequests",
    "__version__",
    "generate_log_id",
    "keyframes_of",
    "new_avatar_session",
]

# Where each name is, as above.
_MODULES = {
    "AgoraEgressConfig": "protocol.settings",
    "AnimationCollector": "pool.collector",
    "AnimationFrame": "protocol.messages",
    "AudioError": "exceptions",
    "AudioFormat": "protocol.settings",
    "AvatarConnectionPool": "pool",
    "AvatarPoolError": "exceptions",
    "AvatarPoolGroup": "fleet",
    "AvatarSDKError": "exceptions",
    "AvatarSDKErrorCode": "exceptions",
    "AvatarSession": "client.session",
    "CloseCode": "exceptions",
    "ConfigurationError": "exceptions",
    "ConnectionGone": "exceptions",
    "Keyframe": "protocol.keyframes",
    "LentSession": "pool",
    "LiveKitEgressConfig": "protocol.settings",
    "LocalAvatarService": "service",
    "LocalBudget": "fleet",
    "OggOpusEncoderConfig": "config",
    "PlaybackState": "protocol.messages",
    "Played": "fleet",
    "PoolClosed": "exceptions",
    "PoolError": "exceptions",
    "PoolEvent": "pool",
    "PoolEventKind": "pool",
    "PoolKey": "fleet",
    "PoolStats": "stats",
    "PoolTimeout": "exceptions",
    "PooledConnection": "pool",
    "RedisBudget": "fleet",
    "RequestTimeout": "exceptions",
    "Room": "fleet",
    "SessionConfig": "config",
    "SessionNotReady": "exceptions",
    "SessionStateError": "exceptions",
    "SessionTokenError": "exceptions",
    "TooManyRequests": "exceptions",
    "generate_log_id": "protocol.request_ids",
    "keyframes_of": "protocol.frames",
    "new_avatar_session": "client.session",
}


if not TYPE_CHECKING:  # to a type checker any name at all would be there

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            value = getattr(import_module(f"avatarpool.{_MODULES[name]}"), name)
        elif name == "__version__":
            value = import_module("importlib.metadata").version("avatarpool")
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value  # the next time it is just there
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
