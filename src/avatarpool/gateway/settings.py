"""What a gateway is told: sections of settings, each with its unit, bounds and default. Pure.

The names are those of the TOML file; `reading` makes them of one. Values are frozen, and
secrets are in no repr.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

from pydantic import BaseModel, ConfigDict, SecretStr
from pydantic.fields import FieldInfo

from avatarpool.fleet.budget import MOST_SESSIONS
from avatarpool.fleet.keys import PoolKey
from avatarpool.gateway.values import (
    DAY,
    FILE,
    HOUR,
    HTTP_URL,
    KEY_HASH,
    MOST_LISTED,
    WEBSOCKET_URL,
    ApiKey,
    AppId,
    AvatarId,
    Count,
    Host,
    HttpUrl,
    KeyHash,
    Network,
    Origin,
    ProxyUrl,
    Seconds,
    TokenSecret,
    WebSocketUrl,
    number,
    seconds,
    setting,
)
from avatarpool.protocol.settings import DEFAULT_SAMPLE_RATE, AudioFormat


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Listen(_Section):
    """``[listen]``: where clients find the gateway, and how long they may stay."""

    host: Host = setting("127.0.0.1", "Where it listens", "an address or a name of this machine")
    port: Count = setting(
        8780,
        "Port of the console, the HTTP API and the page",
        "0 to 65535; 0 is any free one",
        ge=0,
        le=65535,
    )
    ingress_port: Count = setting(
        8781,
        "Port of the official SDKs' WebSocket",
        "0 to 65535; 0 is any free one",
        ge=0,
        le=65535,
    )
    tls_certificate: Path | None = setting(
        None, "Certificate chain (PEM) for both ports, with `tls_key`", FILE
    )
    tls_key: Path | None = setting(None, "Private key (PEM) of the certificate", FILE)
    public_console: HttpUrl | None = setting(
        None, "Console as clients reach it, where something stands before the gateway", HTTP_URL
    )
    public_ingress: WebSocketUrl | None = setting(
        None, "The same for the WebSocket, with `public_console`", WEBSOCKET_URL
    )
    trusted_proxies: tuple[Network, ...] = setting(
        (),
        "Proxies that are believed in whom they forward for",
        "addresses and networks such as `10.0.0.0/8`",
        max_length=MOST_LISTED,
    )
    allowed_origins: tuple[Origin, ...] = setting(
        (),
        "Sites whose pages may use the gateway, beside its own",
        "origins such as `https://app.example.com`",
        max_length=MOST_LISTED,
    )
    shutdown_timeout: Seconds = number(
        30.0, "Seconds for requests under way once it is told to stop", 0, HOUR
    )
    idle_timeout: Seconds = seconds(
        300.0, "without audio after which a client's connection is ended", DAY
    )
    max_duration: Seconds = seconds(3600.0, "after which a client's connection is ended", DAY)

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


class Upstream(_Section):
    """``[upstream]``: the account; what is left out is the environment's ``AVATAR_*``.

    Without any of the four that are needed, it is the local service that the command starts.
    """

    api_key: ApiKey = setting(
        SecretStr(""),
        "Key for the console, or `AVATAR_API_KEY`",
        "printable ASCII",
        max_length=4096,
    )
    app_id: AppId = setting(
        "",
        "Application that the key belongs to, or `AVATAR_APP_ID`",
        "printable ASCII",
        max_length=1024,
    )
    console_endpoint: HttpUrl = setting(
        "", "Where tokens come from, or `AVATAR_CONSOLE_ENDPOINT`", HTTP_URL
    )
    ingress_endpoint: WebSocketUrl = setting(
        "", "Where sessions are opened, or `AVATAR_INGRESS_ENDPOINT`", WEBSOCKET_URL
    )
    use_query_auth: bool = setting(
        False,
        "Whether credentials go in the URL's query and not in headers, or `AVATAR_USE_QUERY_AUTH`",
        "true or false",
    )
    proxy: ProxyUrl = setting(
        True,
        "Way to the service",
        "true: as `HTTPS_PROXY` and the others say; false: directly; or a proxy's URL",
        repr=False,
    )
    ca_file: Path | None = setting(
        None, "Authorities (PEM) to trust in place of the machine's own", FILE
    )
    basis: Path | None = setting(
        None,
        "What the service's expression coefficients mean, for clients that ask for other faces; "
        "without it those get jaw, lids, eyes and head",
        "a file that `Basis.save` wrote, from where the TOML file is",
    )

    @property
    def is_empty(self) -> bool:
        """Whether it names no service at all."""
        return not any(getattr(self, name) for name in NEEDED)


NEEDED = ("api_key", "app_id", "console_endpoint", "ingress_endpoint")
"""What there must be of an upstream, from the file or the environment."""


class Tokens(_Section):
    """``[tokens]``: what clients get for their keys, and open sessions with."""

    secrets: tuple[TokenSecret, ...] = setting(
        (),
        "The first signs tokens, all verify them; without any, a random one until it stops",
        "up to 16 texts of 32 to 4096 bytes",
        max_length=16,
    )
    lifetime: Seconds = seconds(3600.0, "that a token is good for at most", DAY)
    single_use: bool = setting(
        False,
        "Whether a token opens one connection alone, and not any number until it expires",
        "true or false",
    )


class Budget(_Section):
    """``[budget]``: how many sessions the account allows, and who else shares them."""

    sessions: Count = number(
        10, "Sessions that the account allows, of all gateways together", 1, MOST_SESSIONS
    )
    redis: SecretStr | None = setting(
        None,
        "Redis or Valkey through which gateways share them",
        "a `redis://`, `rediss://` or `unix://` URL",
    )
    name: str = setting(
        "account",
        "The account's in Redis, the same for all who share it",
        "1 to 200 characters, no spaces and braces",
        pattern=r"^[^\s{}]{1,200}$",
    )
    lease_ttl: Seconds = number(
        15.0, "Seconds that a session's lease in Redis lasts, the same for all", 1, HOUR
    )


class Warm(_Section):
    """``[[pools.warm]]``: sessions that are kept open, whoever else waits."""

    avatar: AvatarId = setting(..., "The avatar", "1 to 256 printable characters")
    sample_rate: Count = setting(
        DEFAULT_SAMPLE_RATE, "Samples per second", "a rate that the audio format has", gt=0
    )
    audio_format: AudioFormat = setting(
        AudioFormat.PCM_S16LE, "How audio is encoded", "`pcm_s16le` or `ogg_opus`"
    )
    sessions: Count = number(1, "How many", 1, MOST_SESSIONS)

    @property
    def key(self) -> PoolKey:
        """The pool that they are in.

        Raises:
            ConfigurationError: The format has no such rate.
        """
        return PoolKey(self.avatar, self.sample_rate, self.audio_format)


class Pools(_Section):
    """``[pools]``: the sessions upstream."""

    timeout: Seconds = seconds(30.0, "that a request waits for a session once it is its turn", HOUR)
    request_timeout: Seconds = seconds(
        60.0, "from a request's last audio to its last frame, or between two pieces of audio", DAY
    )
    first_frame_timeout: Seconds = seconds(
        10.0, "from a request's last audio to its first frame", DAY
    )
    max_idle: Seconds = seconds(60.0, "after which a session that nobody needs is closed", DAY)
    session_ttl_minutes: Seconds = setting(
        10.0,
        "Minutes after which a session is replaced",
        "above 0, at most 1440",
        gt=0,
        le=1440,
    )
    resend_lost_requests: bool = setting(
        False,
        "Whether a request whose session broke before its first frame is sent once more, "
        "and so may be billed twice",
        "true or false",
    )
    warm: tuple[Warm, ...] = setting(
        (), "Sessions to keep open", "up to 1000 tables `[[pools.warm]]`", max_length=MOST_LISTED
    )


class ClientLimits(_Section):
    """``[defaults]``, and what a client has in place of them; all of them in each gateway."""

    max_concurrent: Count = number(4, "Requests at once", 1, 10_000)
    max_waiting: Count = number(16, "Requests that wait beside those", 0, 10_000)
    queue_timeout: Seconds = seconds(10.0, "that a request waits for its turn", HOUR)
    requests_per_minute: Count = setting(
        0, "Requests in a minute", "0 to 1000000; 0 is any number", ge=0, le=1_000_000
    )
    priority: Count = number(0, "Head start in the queue, in units of 10 s of waiting", -1000, 1000)
    avatars: tuple[AvatarId, ...] = setting(
        (),
        "Avatars that the client may use",
        "up to 1000 ids of 1 to 256 printable characters; none listed: all",
        max_length=MOST_LISTED,
    )
    max_audio_seconds: Seconds = seconds(
        300.0, "of audio in one request, which may take a minute longer to come", DAY
    )


class ClientSettings(_Section):
    """``[[clients]]``: who may use the gateway, with the defaults filled in."""

    name: str = setting(
        ...,
        "Its name in metrics, logs and on the page",
        "1 to 64 letters, digits and `._-`, a letter or digit first",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
    )
    key_hash: KeyHash = setting(..., "Hash of its key", KEY_HASH, repr=False)
    app_id: str = setting(
        ...,
        "What its SDK has for an application",
        "1 to 128 printable ASCII characters without spaces",
        pattern=r"^[!-~]{1,128}$",
    )
    limits: ClientLimits = ClientLimits()


class Admin(_Section):
    """``[admin]``: who may pause, resume, drain and resize."""

    key_hash: KeyHash | None = setting(
        None,
        "Hash of the key for the admin verbs; without one they are off, and beyond loopback "
        "the page and the metrics are too",
        KEY_HASH,
        repr=False,
    )


class GatewaySettings(_Section):
    """All of it."""

    listen: Listen = Listen()
    upstream: Upstream = Upstream()
    tokens: Tokens = Tokens()
    budget: Budget = Budget()
    pools: Pools = Pools()
    defaults: ClientLimits = ClientLimits()
    clients: tuple[ClientSettings, ...] = setting(
        (), "Who may use it", f"up to {MOST_LISTED} tables `[[clients]]`", max_length=MOST_LISTED
    )
    admin: Admin = Admin()


def _fields(*sections: type[BaseModel]) -> Mapping[str, FieldInfo]:
    return {
        name: field
        for section in sections
        for name, field in section.model_fields.items()
        if field.description
    }


SECTIONS: Mapping[str, Mapping[str, FieldInfo]] = {
    "listen": _fields(Listen),
    "upstream": _fields(Upstream),
    "tokens": _fields(Tokens),
    "budget": _fields(Budget),
    "pools": _fields(Pools),
    "pools.warm": _fields(Warm),
    "defaults": _fields(ClientLimits),
    "clients": _fields(ClientSettings, ClientLimits),
    "admin": _fields(Admin),
}
"""What may stand in the file, by section."""

SECRET = frozenset({"api_key", "proxy", "secrets", "redis", "key_hash"})
"""The settings that are never shown, whatever is wrong with them."""
