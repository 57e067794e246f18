"""``/openapi.json``: the gateway's HTTP API, described for machines (OpenAPI 3.1)."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from avatarpool.endpoint import http
from avatarpool.gateway import admin, animations, host, page, problems, records
from avatarpool.protocol.settings import PCM_SAMPLE_RATES

ROUTE = "/openapi.json"

PROBLEMS: dict[str, tuple[int, str]] = {
    "adminOff": (404, "There is no admin key, so that this is off."),
    "audioStopped": (408, "The audio stopped coming in the middle of a request."),
    "audioTooLong": (413, "A request has more audio than its client may send at once."),
    "avatarNotAllowed": (403, "The avatar is not one of the client's."),
    "avatarNotFound": (404, "The service does not know the avatar."),
    "billingRequired": (402, "The gateway's account with the service has no credits."),
    "bodyTimeout": (408, "The body did not come in time."),
    "bodyTooLarge": (413, "The body is larger than any may be."),
    "busy": (503, "Too many requests or connections, or too much audio read whole; try later."),
    "clientBusy": (429, "As many of the client's requests wait already as may."),
    "clientUnknown": (401, "The client was taken out of the settings."),
    "closing": (503, "The gateway stops; another one may serve."),
    "creditsExhausted": (402, "The gateway's account with the service ran out of credits."),
    "egressUnavailable": (503, "The service cannot send to rooms."),
    "foreignOrigin": (403, "The host or the page is none of the gateway's."),
    "internalError": (500, "The gateway failed; its log says why."),
    "invalidAudio": (400, "The audio is damaged, or there is none."),
    "invalidEgressConfig": (400, "The room that frames are to go to cannot be."),
    "invalidRequest": (400, "The request cannot be; the detail says why."),
    "methodNotAllowed": (405, "Another method is meant; see Allow."),
    "notAcceptable": (406, "The answer is not written as anything in Accept."),
    "notFound": (404, "There is nothing at this address."),
    "notInstalled": (501, "What this needs is not installed where the gateway runs."),
    "paused": (503, "The gateway was paused by its administrator."),
    "queueTimeout": (503, "No session came free in the client's time."),
    "rateLimited": (429, "The client sent more requests in a minute than it may."),
    "unauthorized": (401, "There is no key, or one that the gateway does not know."),
    "unsupportedMediaType": (415, "The body is compressed, or no audio that is read."),
    "upgradeRequired": (426, "This is a WebSocket."),
    "upstreamFailed": (502, "The service answered the request with an error."),
    "upstreamLost": (502, "The session was lost before the last frame; try again."),
    "upstreamTimeout": (504, "The service sent no frame in time."),
    "upstreamUnavailable": (503, "The service cannot be used now."),
}
"""Every code of a problem: its status, and what it means."""


async def handle(_request: web.Request) -> web.Response:
    """Return the description."""
    return web.json_response(DOCUMENT)


AUDIO_TYPES = (
    "audio/wav", "audio/pcm", "audio/L16", "audio/ogg", "audio/mpeg", "audio/flac", "audio/mp4",
    "audio/webm", "application/octet-stream",
)  # fmt: skip
"""What uploads are called; their bytes tell what they are."""


def _refusals(*codes: str) -> dict[str, Any]:
    """Return the answers that these problems are, by status."""
    by_status: dict[int, list[str]] = {}
    for code in (*codes, "foreignOrigin", "invalidRequest"):
        by_status.setdefault(PROBLEMS[code][0], []).append(code)
    return {
        str(status): {
            "description": " ".join(
                f"`{code}`: {PROBLEMS[code][1]}" for code in sorted(set(group))
            ),
            "headers": {"Retry-After": _RETRY_AFTER},
            "content": {problems.CONTENT_TYPE: {"schema": _ref("Problem")}},
        }
        for status, group in sorted(by_status.items())
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: tuple[str, ...], **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


def _query(name: str, what: str, schema: dict[str, Any], *, required: bool = False) -> Any:
    return {
        "name": name,
        "in": "query",
        "description": what,
        "required": required,
        "schema": schema,
    }


_RETRY_AFTER = {
    "description": "Seconds after which it may go better, where that is known.",
    "schema": {"type": "integer", "minimum": 1},
}
_NUMBERS = {"type": "array", "items": {"type": "number"}}
_BINARY: dict[str, Any] = {}  # any bytes
_AS_CLIENT: list[dict[str, list[str]]] = [{"apiKey": []}, {"bearer": []}]
_AS_PAGE = [*_AS_CLIENT, {"queryKey": []}, {"queryToken": []}, {"subprotocol": []}]
_OF_SERVICE = (
    "avatarNotFound", "billingRequired", "creditsExhausted", "upstreamFailed", "upstreamLost",
    "upstreamTimeout", "upstreamUnavailable",
)  # fmt: skip
_OF_TURNS = ("busy", "clientBusy", "rateLimited", "queueTimeout", "paused", "closing")

_TOKEN_REQUEST = {
    "summary": "Get a session token for an API key",
    "security": [{"apiKey": []}],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": _object(
                    ("expireAt",),
                    expireAt={"type": "integer", "description": "Unix seconds, soon enough."},
                )
            }
        },
    },
    "responses": {
        "200": {
            "description": "The token, under either name.",
            "content": {
                "application/json": {
                    "schema": _object(
                        ("sessionToken", "session_token"),
                        sessionToken={"type": "string"},
                        session_token={"type": "string"},
                    )
                }
            },
        },
        "400": {
            "description": "The body cannot be.",
            "content": {
                "application/json": {"schema": _ref("TokenErrors")},
                problems.CONTENT_TYPE: {"schema": _ref("Problem")},
            },
        },
        "401": {
            "description": "The key is nobody's.",
            "content": {"application/json": {"schema": _ref("TokenErrors")}},
        },
        "403": _refusals()["403"],
    },
}

_ANIMATION = {
    "summary": "Animate speech",
    "description": (
        "The body is speech: WAV; raw 16-bit PCM (`audio/pcm;rate=24000`, `audio/L16`, or "
        "`sample_rate` in the query); Ogg Opus; with the extra `audio` MP3, FLAC, M4A, WebM and "
        "other Ogg. Raw PCM, WAV and mono Ogg Opus go up as they come, others are read whole (32 "
        "MiB). The answer begins with the first frame: until then, failures are problems. It "
        "closes with `end` or `error`; one without was cut."
    ),
    "security": _AS_CLIENT,
    "parameters": [
        _query(
            "avatar",
            "The avatar's id.",
            {"type": "string", "minLength": 1, "maxLength": 256},
            required=True,
        ),
        _query(
            "sample_rate",
            "Samples per second of a body that is raw mono PCM.",
            {"type": "integer", "minimum": 4000, "maximum": 384_000},
        ),
        _query("frames", "What frames are told as.", {"enum": list(records.FRAMES)}),
    ],
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": _BINARY} for kind in AUDIO_TYPES
        },
    },
    "responses": {
        "200": {
            "description": "The animation, as it comes.",
            "content": {
                records.LINES: {"schema": _ref("Record"), "x-each": "line"},
                records.EVENTS: {"schema": {"type": "string"}, "x-each": "event"},
                records.MESSAGES: {
                    "schema": _BINARY,
                    "x-each": "4 bytes of length (big-endian), then a serialised Message",
                },
            },
        },
        **_refusals(
            "unauthorized", "avatarNotAllowed", "bodyTimeout", "bodyTooLarge", "audioTooLong",
            "audioStopped", "clientUnknown",
            "invalidAudio", "unsupportedMediaType", "notAcceptable", *_OF_TURNS, *_OF_SERVICE,
            "internalError",
        ),
    },
}  # fmt: skip

_HOST = {
    "summary": "Speak over a WebSocket (host mode)",
    "description": (
        'The demo server\'s protocol: a text `{"action": "start", "avatar_id", "sample_rate"}`, '
        "then binary messages both ways: a byte for the type (1 audio, 2 animation, 3 metadata, 4 "
        "error), one for flags (bit 0: the last), the payload. Another speech may begin after the "
        'last frame, or after a text `{"action": "interrupt"}`, which an animation of no '
        "frames, the last, answers. A page offers the subprotocols `avatarpool` and "
        "`avatarpool.<key or token>`."
    ),
    "security": _AS_PAGE,
    "parameters": [
        _query(
            "frames",
            "What frames are told as; other than as messages, they come as type 5, a JSON list.",
            {"enum": list(records.FRAMES)},
        )
    ],
    "responses": {
        "101": {"description": "The WebSocket is open."},
        **_refusals("unauthorized", "upgradeRequired", "busy", "closing"),
    },
}


def _looked_at(summary: str, content: dict[str, Any], *codes: str, **more: Any) -> dict[str, Any]:
    answer = {"description": summary + ".", "content": content}
    return {"summary": summary, **more, "responses": {"200": answer, **_refusals(*codes)}}


def _verb(summary: str, *codes: str, **more: Any) -> dict[str, Any]:
    return {
        "summary": summary,
        "security": [{"apiKey": []}, {"bearer": []}],
        **more,
        "responses": {
            "204": {"description": "It is done."},
            **_refusals("unauthorized", "adminOff", *codes),
        },
    }


def _status(word: str) -> dict[str, Any]:
    return {"application/json": {"schema": _object(("status",), status={"const": word})}}


DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {
        "title": "avatarpool gateway",
        "version": "1",
        "description": "Speech in, face animation out, from the sessions of one account.",
        "license": {"name": "MIT", "identifier": "MIT"},
    },
    "paths": {
        animations.ROUTE: {"post": _ANIMATION},
        host.ROUTE: {"get": _HOST},
        **{route: {"post": _TOKEN_REQUEST} for route in http.CONSOLE_ROUTES},
        "/healthz": {"get": _looked_at("Whether the process answers", _status("ok"))},
        "/readyz": {
            "get": _looked_at(
                "Whether a request would be served",
                _status("ready"),
                "closing",
                "paused",
                "upstreamUnavailable",
            )
        },
        "/metrics": {
            "get": _looked_at(
                "Metrics for Prometheus",
                {
                    "text/plain": {"schema": {"type": "string"}},
                    "application/openmetrics-text": {"schema": {"type": "string"}},
                },
                "unauthorized",
                "adminOff",
                "notInstalled",
                security=[{}, {"apiKey": []}, {"bearer": []}],
            )
        },
        page.POOLS_ROUTE: {
            "get": _looked_at(
                "How sessions, queue and clients stand, and the last five minutes",
                {"application/json": {"schema": {"type": "object"}}},
                "unauthorized",
                "adminOff",
                security=[{}, {"apiKey": []}, {"bearer": []}],
            )
        },
        page.EVENTS_ROUTE: {
            "get": _looked_at(
                "The same as server-sent events, each second, without end",
                {"text/event-stream": {"schema": {"type": "string"}}},
                "unauthorized",
                "adminOff",
                "busy",
                "closing",
                security=[{}, {"apiKey": []}, {"bearer": []}],
            )
        },
        ROUTE: {
            "get": _looked_at(
                "This description", {"application/json": {"schema": {"type": "object"}}}
            )
        },
        f"{admin.ROUTE}/pause": {"post": _verb("Refuse new requests; those under way go on")},
        f"{admin.ROUTE}/resume": {"post": _verb("Take new requests again")},
        f"{admin.ROUTE}/drain": {"post": _verb("Replace every session", "closing")},
        f"{admin.ROUTE}/resize": {
            "post": _verb(
                "Change the budget of sessions",
                "bodyTooLarge",
                "bodyTimeout",
                requestBody={
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": _object(
                                ("sessions",),
                                sessions={"type": "integer", "minimum": 1, "maximum": 1_000_000},
                            )
                        }
                    },
                },
            )
        },
    },
    "components": {
        "securitySchemes": {
            "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
            "queryKey": {"type": "apiKey", "in": "query", "name": "api_key"},
            "queryToken": {"type": "apiKey", "in": "query", "name": "token"},
            "subprotocol": {"type": "apiKey", "in": "header", "name": "Sec-WebSocket-Protocol"},
        },
        "schemas": {
            "Problem": _object(
                ("type", "title", "status", "detail", "code"),
                type={"type": "string", "format": "uri-reference"},
                title={"type": "string"},
                status={"type": "integer"},
                detail={"type": "string", "description": "One sentence for people."},
                code={"enum": sorted(PROBLEMS), "description": "Stable, for programs."},
                retry_after={"type": "number", "description": "Seconds."},
            ),
            "TokenErrors": _object(
                ("errors",),
                errors={
                    "type": "array",
                    "items": _object(
                        ("status", "code", "title", "detail"),
                        status={"type": "integer"},
                        code={"type": "string"},
                        title={"type": "string"},
                        detail={"type": "string"},
                    ),
                },
            ),
            "Record": {
                "oneOf": [
                    _object(
                        ("type", "time"),
                        type={"const": "keyframe"},
                        time={"type": "number", "description": "Seconds of the speech."},
                        translation=_NUMBERS,
                        rotation=_NUMBERS,
                        neck_pose=_NUMBERS,
                        jaw_pose=_NUMBERS,
                        eye_pose=_NUMBERS,
                        eye_lid=_NUMBERS,
                        expression=_NUMBERS,
                    ),
                    _object(
                        ("type", "message"),
                        type={"const": "message"},
                        message={"type": "string", "contentEncoding": "base64"},
                    ),
                    _object(
                        ("type", "records"),
                        type={"const": "end"},
                        records={"type": "integer", "description": "That came before."},
                    ),
                    _object(
                        ("type", "code", "detail"),
                        type={"const": "error"},
                        code={"enum": sorted(PROBLEMS)},
                        detail={"type": "string"},
                    ),
                ]
            },
        },
    },
    "x-sample-rates": list(PCM_SAMPLE_RATES),
    "x-problems": {
        code: {"status": status, "description": what} for code, (status, what) in PROBLEMS.items()
    },
}
