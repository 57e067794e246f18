"""What a session sends, made from its configuration and its audio; no I/O."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from avatarpool.config import SessionConfig
from avatarpool.protocol.messages import ConfigureSession
from avatarpool.protocol.settings import AudioFormat

# Audio leaves in messages of this size. A piece is queued whole or not at all, so
# cancelling between pieces leaves a clean stream, and a peer that takes nothing costs
# no more memory than one. Larger ones are no faster: 558 kB take 330 us in pieces of
# 64 kB, 240 in these, 230 in pieces of twice the size. Even, so that no PCM sample is
# torn.
AUDIO_PIECE_BYTES = 128 * 1024

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
        context = context()
    return {
        key: context[key] for key in ("traceparent", "tracestate") if context and key in context
    }


def pieces(
    audio: bytes | bytearray | memoryview, *, end: bool
) -> Iterator[tuple[bytes | memoryview, bool]]:
    """Cut audio for the wire; a bare end is one empty piece."""
    view = memoryview(audio)
    if end and not view:
        yield b"", True
    for start in range(0, len(view), AUDIO_PIECE_BYTES):
        stop = start + AUDIO_PIECE_BYTES
        yield view[start:stop], end and stop >= len(view)
