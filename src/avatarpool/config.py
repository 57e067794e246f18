"""What a session needs to know: one frozen value, checked before any network use."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from urllib.parse import urlsplit

from avatarpool.exceptions import ConfigurationError
from avatarpool.protocol.messages import AnimationFrame, PlaybackState
from avatarpool.protocol.settings import (
    DEFAULT_SAMPLE_RATE,
    OPUS_SAMPLE_RATES,
    PCM_SAMPLE_RATES,
    AgoraEgressConfig,
    AudioFormat,
    LiveKitEgressConfig,
)
from avatarpool.proxies import parse_proxy

# What stands in a host name; a slash or a dot would lead the API key elsewhere.
_REGION = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

_ANY_REGION = "auto"  # the official SDK asks the vendor's scheduler, over the network


# What an Opus encoder can be told.
OPUS_FRAME_DURATIONS_MS = (10, 20, 40, 60)
OPUS_APPLICATIONS = ("audio", "voip", "restricted_lowdelay")


@dataclass(frozen=True, slots=True)
class OggOpusEncoderConfig:
    """Lets ``send_audio()`` take PCM on an Ogg Opus session (extra ``audio``).

    Attributes:
        frame_duration_ms: Length of an Opus frame: 10, 20, 40 or 60 ms.
        application: ``audio``, ``voip`` or ``restricted_lowdelay``.
    """

    frame_duration_ms: int = 20
    application: str = "voip"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """Everything one avatar session is opened with.

    The field names are the official SDKs' keyword names. The callbacks run on
    the session's event loop and must not block; an exception in one of them is
    logged and changes nothing else.

    Attributes:
        avatar_id: The avatar to animate.
        api_key: Key for the console; never shown or logged.
        app_id: The application the key belongs to.
        console_endpoint_url: Base URL for session tokens (``http`` or ``https``).
        ingress_endpoint_url: Base URL of the WebSocket (``http``, ``https``,
            ``ws`` or ``wss``).
        use_query_auth: Send the credentials in the URL's query (as browsers
            must) and not in headers.
        expire_at: When the session token expires, at most 24 h ahead; naive
            times are taken as UTC. Left out: one hour from the request, in a pool
            its ``session_ttl_minutes``.
        sample_rate: Samples per second of the audio.
        bitrate: Bits per second for Ogg Opus; 0 lets the encoder choose.
        audio_format: `AudioFormat` of the audio.
        ogg_opus_encoder: Encode PCM to Ogg Opus before sending.
        on_encoded_audio: Called with ``(req_id, ogg_bytes)`` once a request's
            audio was encoded.
        transport_frames: Called with ``(message_bytes, is_last)`` per frame.
        on_playback: Called with the decoded `AnimationFrame` per frame.
        on_playback_state: Called with each `PlaybackState` (egress only).
        on_error: Called with errors that no call of yours can raise.
        on_close: Called once, when the session has ended.
        livekit_egress: Animation goes to this LiveKit room.
        agora_egress: Animation goes to this Agora channel.
        extra_params: Extension parameters for the handshake.
        trace_context: W3C ``traceparent`` and ``tracestate``, sent with the
            first audio of each request; a callable is asked per request.
        token_request_timeout: Seconds for one token request.
        connect_timeout: Seconds for TCP, TLS and the WebSocket upgrade.
        handshake_timeout: Seconds for the service's answer to the configuration.
        send_timeout: Seconds without any progress after which a peer that is sent to
            is given up; who takes audio slowly is not.
        close_timeout: Seconds for the closing handshake before the socket is cut.
        ping_interval: Seconds of silence after which the peer is pinged; None
            pings never.
        ping_timeout: Seconds for its answer, from when it takes nothing of what was
            sent before and sends nothing; at most ``ping_interval``.
        proxy: True asks the environment: ``HTTPS_PROXY``, ``HTTP_PROXY``,
            ``ALL_PROXY`` and ``NO_PROXY``. False takes none. A URL is taken
            whatever the environment says: ``http``, ``https``, ``socks5`` or ``socks5h``,
            with ``user:password@`` if it asks for them; never shown or logged. This
            machine's own addresses are always reached directly.
        ssl_context: Verifies the console, the ingress and ``https`` proxies. Left
            out: the machine's authorities, or those that ``SSL_CERT_FILE`` and
            ``SSL_CERT_DIR`` name.
        region: Names the endpoints that are left out, as `spatius` does:
            ``us-west`` stands for ``https://console.us-west.spatius.ai/v1/console`` and
            ``wss://api.us-west.spatius.ai/v2/driveningress``; regions in ``cn-`` are in
            ``spatialwalk.top``. ``auto`` is not resolved here.
        environment: Accepted, and not used: `spatialreal` looks its endpoints up
            over the network, and here they are to be given.
    """

    avatar_id: str = ""
    api_key: str = field(default="", repr=False)
    app_id: str = ""
    console_endpoint_url: str = ""
    ingress_endpoint_url: str = ""
    use_query_auth: bool = False
    expire_at: datetime | None = None
    sample_rate: int = DEFAULT_SAMPLE_RATE
    bitrate: int = 0
    audio_format: AudioFormat = AudioFormat.PCM_S16LE
    ogg_opus_encoder: OggOpusEncoderConfig | None = None
    on_encoded_audio: Callable[[str, bytes], object] | None = None
    transport_frames: Callable[[bytes, bool], object] | None = None
    on_playback: Callable[[AnimationFrame], object] | None = None
    on_playback_state: Callable[[PlaybackState], object] | None = None
    on_error: Callable[[Exception], object] | None = None
    on_close: Callable[[], object] | None = None
    livekit_egress: LiveKitEgressConfig | None = None
    agora_egress: AgoraEgressConfig | None = None
    extra_params: Mapping[str, str] = field(default_factory=dict)
    trace_context: Mapping[str, str] | Callable[[], Mapping[str, str]] | None = None
    token_request_timeout: float = 10.0
    connect_timeout: float = 10.0
    handshake_timeout: float = 10.0
    send_timeout: float = 10.0
    close_timeout: float = 2.0
    ping_interval: float | None = 20.0
    ping_timeout: float = 20.0
    proxy: str | bool = field(default=True, repr=False)
    ssl_context: ssl.SSLContext | None = None
    region: str = ""
    environment: str = ""

    def __post_init__(self) -> None:
        """Fill in the endpoints that the region stands for."""
        region = self.region.strip()
        if region == _ANY_REGION or not _REGION.fullmatch(region):
            return  # `validate` has more to say
        domain = "spatialwalk.top" if region.startswith("cn-") else "spatius.ai"
        for name, url in (
            ("console_endpoint_url", f"https://console.{region}.{domain}/v1/console"),
            ("ingress_endpoint_url", f"wss://api.{region}.{domain}/v2/driveningress"),
        ):
            if not getattr(self, name):
                object.__setattr__(self, name, url)

    @property
    def has_egress(self) -> bool:
        """Whether frames go to a room and none will come back here."""
        return self.livekit_egress is not None or self.agora_egress is not None

    def validate(self) -> None:
        """Raise `ConfigurationError` naming every problem at once."""
        problems = [*self._missing(), *self._wrong()]
        if problems:
            raise ConfigurationError("session configuration cannot work", problems)

    def _missing(self) -> Iterator[str]:
        for name in ("avatar_id", "api_key", "app_id"):
            if not getattr(self, name):
                yield f"{name} is missing"
        endpoints = ("console_endpoint_url", "ingress_endpoint_url")
        missing = [name for name in endpoints if not getattr(self, name)]
        yield from (f"{name} is missing" for name in missing)
        region = self.region.strip()
        if missing and region == _ANY_REGION:
            yield "region 'auto' is not resolved here: name a region, or both endpoints"
        elif missing and region:
            yield f"region {region!r} is no name such as 'us-west'"
        elif missing and self.environment:
            yield f"environment {self.environment!r} is not looked up here: name both endpoints"

    def _wrong(self) -> Iterator[str]:
        yield from self._wrong_access()
        yield from self.wrong_media()
        if not _are_strings(self.extra_params):
            yield "extra_params has a key or value that is no string"
        yield from self._wrong_times()

    def _wrong_access(self) -> Iterator[str]:
        for name in ("api_key", "app_id"):
            value = getattr(self, name)
            if value and not (value.isascii() and value.isprintable() and value == value.strip()):
                # The value itself may be a secret.
                yield f"{name} has a space at an end or a character that no HTTP header carries"
        for name, schemes in (
            ("console_endpoint_url", ("http", "https")),
            ("ingress_endpoint_url", ("http", "https", "ws", "wss")),
        ):
            url = getattr(self, name)
            if url and (fault := url_fault(url, schemes)):
                yield f"{name} {fault}"
        yield from self._wrong_network()

    def _wrong_network(self) -> Iterator[str]:
        if isinstance(self.proxy, str):
            try:
                parse_proxy("proxy", self.proxy)
            except ConfigurationError as error:
                yield from error.problems
        elif not isinstance(self.proxy, bool):
            yield "proxy is neither a URL nor True nor False"
        if not isinstance(self.ssl_context, ssl.SSLContext | None):
            yield "ssl_context is no ssl.SSLContext"

    def wrong_media(self) -> Iterator[str]:
        """Name what no session can be set to of audio, and of where the animation goes."""
        yield from self._wrong_audio()
        yield from self._wrong_egress()

    def _wrong_audio(self) -> Iterator[str]:
        known = self.audio_format in tuple(AudioFormat)
        if not known:
            yield f"audio_format {self.audio_format!r} is neither 'pcm_s16le' nor 'ogg_opus'"
        is_opus = self.audio_format == AudioFormat.OGG_OPUS
        rates = OPUS_SAMPLE_RATES if is_opus else PCM_SAMPLE_RATES
        if known and self.sample_rate not in rates:
            yield f"sample_rate {self.sample_rate} is none of {', '.join(map(str, rates))}"
        if not 0 <= self.bitrate < 2**31:
            yield f"bitrate {self.bitrate} is no number of bits per second"
        encoder = self.ogg_opus_encoder
        if encoder is None:
            return
        if known and not is_opus:
            yield "ogg_opus_encoder needs audio_format 'ogg_opus'"
        yield from unfit_for_opus(encoder.frame_duration_ms, encoder.application)

    def _wrong_egress(self) -> Iterator[str]:
        livekit, agora = self.livekit_egress, self.agora_egress
        if not isinstance(livekit, LiveKitEgressConfig | None):
            yield f"livekit_egress is no LiveKitEgressConfig but a {type(livekit).__name__}"
            return
        if not isinstance(agora, AgoraEgressConfig | None):
            yield f"agora_egress is no AgoraEgressConfig but a {type(agora).__name__}"
            return
        if livekit is not None and agora is not None:
            yield "livekit_egress and agora_egress exclude each other"
        if livekit is not None and not 0 <= livekit.idle_timeout < 2**31:
            yield f"livekit_egress.idle_timeout {livekit.idle_timeout} is no number of seconds"
        if livekit is not None and not _are_strings(livekit.extra_attributes):
            yield "livekit_egress.extra_attributes has a key or value that is no string"
        if agora is not None and not 0 <= agora.uid < 2**32:
            yield f"agora_egress.uid {agora.uid} is no 32-bit number"

    def _wrong_times(self) -> Iterator[str]:
        for name in (
            "token_request_timeout",
            "connect_timeout",
            "handshake_timeout",
            "send_timeout",
            "ping_interval",
            "ping_timeout",
        ):
            seconds = getattr(self, name)
            if seconds is not None and not seconds > 0:
                yield f"{name} {seconds} is not positive"
        if self.ping_interval is not None and self.ping_timeout > self.ping_interval:
            yield (
                f"ping_timeout {self.ping_timeout} is longer than "
                f"ping_interval {self.ping_interval}"
            )


@lru_cache(64)  # asked twice for each session, of the same few URLs
def url_fault(url: str, schemes: tuple[str, ...]) -> str | None:
    """Say what is wrong with a URL without showing it: it may hold a password."""
    if any(map(str.isspace, url)):
        return "has a space or a line break in it"
    starts = [f"{scheme}://" for scheme in schemes]
    if not url.lower().startswith(tuple(starts)):
        return f"must begin with {', '.join(starts[:-1])} or {starts[-1]}"
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")  # a name that DNS can carry
        is_reachable = bool(host) and parts.port != 0
    except ValueError:
        is_reachable = False
    else:
        if "@" in parts.netloc:
            return "carries a user name, which the service does not take"
    return None if is_reachable else "has no valid host or port"


def unfit_for_opus(frame_duration_ms: int, application: str) -> Iterator[str]:
    """Say what an Opus encoder cannot be told."""
    if frame_duration_ms not in OPUS_FRAME_DURATIONS_MS:
        known = ", ".join(map(str, OPUS_FRAME_DURATIONS_MS))
        yield f"frame_duration_ms {frame_duration_ms} is none of {known}"
    if application not in OPUS_APPLICATIONS:
        yield f"application {application!r} is none of {', '.join(OPUS_APPLICATIONS)}"


def _are_strings(mapping: Mapping[str, str]) -> bool:
    return all(isinstance(value, str) for pair in mapping.items() for value in pair)
