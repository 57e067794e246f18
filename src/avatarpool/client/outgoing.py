"""What a session sends, made from its configuration and its audio; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from avatarpool.config import SessionConfig
from avatarpool.protocol.messages import ConfigureSession
from avatarpool.protocol.settings import AudioFormat

# Audio leaves in messages of this size. A piece is queued whole or not at all, so
# cancelling between pieces leaves a clean stream, and a peer that takes nothing costs
# no more memory than one. Larger ones are no faster: 558 kB take 330 us in pieces of
# 64 kB, 240 in these, 230 in pieces of twice the size. Even, so that no PCM sample is
# torn.
PIECE_BYTES = 128 * 1024

# To a peer that takes longer than this for such a piece: an interrupt waits for the
# rest of the piece before it.
SLOW_SECONDS = 0.05
SLOW_PIECE_BYTES = 16 * 1024

_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def ingress_target(config: SessionConfig, token: str) -> tuple[str, dict[str, str]]:
    """Return the WebSocket's URL and headers; one of them carries the credentials."""
    parts = urlsplit(config.ingress_endpoint_url)
    given = parse_qsl(parts.query, keep_blank_values=True)
    query = [pair for pair in given if pair[0] not in ("id", "appId", "sessionKey")]
    query.append(("id", config.avatar_id))
    headers = {}
    if config.use_query_auth:
        query += [("appId", config.app_id), ("sessionKey", token)]
    else:
        headers = {"X-App-ID": config.app_id, "X-Session-Key": token}
    path = parts.path.rstrip("/") + "/websocket"
    scheme = _SCHEMES[parts.scheme.lower()]
    return urlunsplit((scheme, parts.netloc, path, urlencode(query), "")), headers


def configuration(config: SessionConfig) -> ConfigureSession:
    """Return the first message of a session."""
    return ConfigureSession(
        sample_rate=config.sample_rate,
        audio_format=AudioFormat(config.audio_format),
        bitrate=config.bitrate,
        livekit_egress=config.livekit_egress,
        agora_egress=config.agora_egress,
        extra_params=config.extra_params,
    )


def trace_context(config: SessionConfig) -> dict[str, str]:
    """Return the W3C trace context of a request that begins now."""
    context = config.trace_context
    if callable(context):
        context = _asked(context)
    if not context:
        return {}
    found = {key: context[key] for key in ("traceparent", "tracestate") if key in context}
    if not all(isinstance(value, str) for value in found.values()):
        raise TypeError("trace_context gave a traceparent or tracestate that is no string")
    return found


def _asked(trace_context: Callable[[], Mapping[str, str]]) -> Mapping[str, str]:
    try:
        return trace_context()
    except (Exception, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a CancelledError would seem to be the sender's
        raise RuntimeError(f"trace_context raised {type(error).__name__}") from error
