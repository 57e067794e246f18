"""avatarpool: warm avatar sessions, lent one request at a time."""

from importlib.metadata import version

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
from avatarpool.pool import (
    AvatarConnectionPool,
    LentSession,
    PooledConnection,
    PoolEvent,
    PoolEventKind,
)
from avatarpool.pool.collector import AnimationCollector
from avatarpool.protocol.keyframes import Keyframe
from avatarpool.protocol.messages import AnimationFrame, PlaybackState
from avatarpool.protocol.request_ids import generate_log_id
from avatarpool.protocol.settings import AgoraEgressConfig, AudioFormat, LiveKitEgressConfig
from avatarpool.service import LocalAvatarService
from avatarpool.stats import PoolStats

__version__ = version("avatarpool")

__all__ = [
    "AgoraEgressConfig",
    "AnimationCollector",
    "AnimationFrame",
    "AudioError",
    "AudioFormat",
    "AvatarConnectionPool",
    "AvatarPoolError",
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
    "OggOpusEncoderConfig",
    "PlaybackState",
    "PoolClosed",
    "PoolError",
    "PoolEvent",
    "PoolEventKind",
    "PoolStats",
    "PoolTimeout",
    "PooledConnection",
    "RequestTimeout",
    "SessionConfig",
    "SessionNotReady",
    "SessionStateError",
    "SessionTokenError",
    "TooManyRequests",
    "__version__",
    "generate_log_id",
    "new_avatar_session",
]
