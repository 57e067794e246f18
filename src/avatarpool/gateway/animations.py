"""``POST /v1/animations``: speech in the body, its animation in the answer, both as they come."""

from __future__ import annotations

import asyncio
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

from aiohttp import http_exceptions, web

from avatarpool.blendshapes import Basis
from avatarpool.endpoint import refusals
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.fleet import PoolKey
from avatarpool.gateway import failures, problems, records
from avatarpool.gateway.authentication import Authentication
from avatarpool.gateway.clients import Client
from avatarpool.gateway.exchange import Exchange
from avatarpool.gateway.failures import Failure
from avatarpool.gateway.outbox import Outbox
from avatarpool.gateway.problems import Refused
from avatarpool.gateway.records import BrokenFrame, Writing
from avatarpool.gateway.relay import LATE_SECONDS
from avatarpool.gateway.uploads import Held, Upload
from avatarpool.protocol.messages import AnimationFrame
from avatarpool.protocol.request_ids import generate_log_id
from avatarpool.transport import buffers

ROUTE = "/v1/animations"

_CONVERTERS = 2  # files that are decoded at once
_MAX_AVATAR_ID = 256

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # proxies pass it on as it comes
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for.

    Attributes:
        avatar_id: Whose face.
        sample_rate: Of raw samples, if the query says so.
        answer_type: What the answer is written as.
        frames: What frames are told as.
    """

    avatar_id: str
    sample_rate: int | None
    answer_type: str
    frames: str

    @classmethod
    def of(cls, request: web.Request) -> Self:
        """Find it in the query and the headers.

        Raises:
            Refused: It cannot be.
        """
        query = request.query
        encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise problems.refused(
                "unsupportedMediaType", 415, "a compressed body is not read: send it as it is"
            )
        for name in ("avatar", "sample_rate", "frames"):
            if len(query.getall(name, ())) > 1:
                raise _invalid(f"{name} is there twice")
        avatar_id = query.get("avatar", "")
        if not (0 < len(avatar_id) <= _MAX_AVATAR_ID and avatar_id.isprintable()):
            raise _invalid("avatar must be the avatar's id, as in ?avatar=my-avatar")
        answer_type = records.chosen(", ".join(request.headers.getall("Accept", ())))
        if answer_type is None:
            kinds = ", ".join(records.CONTENT_TYPES)
            raise problems.refused("notAcceptable", 406, f"answers are written as {kinds} alone")
        is_messages = answer_type == records.MESSAGES
        frames = query.get("frames", "message" if is_messages else "flame")
        if frames not in records.FRAMES or (is_messages and frames != "message"):
            known = "message" if is_messages else " or ".join(records.FRAMES)
            raise _invalid(f"frames of {answer_type} may be {known}")
        return cls(avatar_id, _rate(query.get("sample_rate")), answer_type, frames)


class Animations:
    """Answers uploads with their animations.

    Args:
        exchange: Serves them.
        authentication: Whose they are.
        limits: How long a body may take to come.
        basis: Whose expression coefficients the service's are, if that is known.
    """

    def __init__(
        self,
        exchange: Exchange,
        authentication: Authentication,
        limits: ServiceLimits,
        basis: Basis | None = None,
    ) -> None:
        self._basis = basis
        self._exchange = exchange
        self._authentication = authentication
        self._patience = limits.http_idle_timeout
        self._held = Held()
        self._threads = ThreadPoolExecutor(_CONVERTERS, "avatarpool-audio")
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Convert nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; cancelling, or its client's leaving, interrupts it.

        Raises:
            Refused: It gets no animation.
        """
        client = self._authentication.client(request)
        asked = Asked.of(request)
        refusal = self._exchange.refusal(client, asked.avatar_id)
        if refusal is not None:
            raise Refused(client.refuse(refusal))
        if not client.admit():
            raise problems.refused("busy", 503, refusals.TOO_MANY_HANDSHAKES.message, 1.0)
        try:
            return await self._serve(request, client, asked)
        finally:
            client.leave()

    async def _serve(
        self, request: web.Request, client: Client, asked: Asked
    ) -> web.StreamResponse:
        outbox = Outbox()
        hearing = asyncio.create_task(self._hear(request, client, asked, outbox))
        try:
            return await _answer(request, asked, outbox, self._basis)
        except ConnectionError:  # its client has left
            return web.Response()
        finally:
            hearing.cancel()
            outbox.interrupt()
            await asyncio.wait([hearing])

    # --- the body -----------------------------------------------------------------------------

    async def _hear(
        self, request: web.Request, client: Client, asked: Asked, outbox: Outbox
    ) -> None:
        """Send a body up; what is wrong with it ends the request."""
        upload = Upload(
            request.headers.get("Content-Type", ""),
            asked.sample_rate,
            client.limits.max_audio_seconds,
        )
        held = 0
        deadline = self._loop.time() + client.limits.max_audio_seconds + LATE_SECONDS
        try:
            while data := await self._piece(request, deadline):
                audio = upload.feed(data)
                self._held.take(client.name, upload.held_bytes - held)
                held = upload.held_bytes
                if audio:
                    await self._push(client, asked, upload, outbox, audio)
                if outbox.is_over:
                    return
            end = await self._loop.run_in_executor(self._threads, upload.end)
            await self._push(client, asked, upload, outbox, end, end=True)
        except Refused as refused:
            outbox.give_up(refused.failure)
        except ConnectionError:
            outbox.interrupt()
            outbox.give_up(_BROKEN)
        except Exception:
            outbox.give_up(failures.INTERNAL)
            raise
        finally:
            self._held.give_back(client.name, held)

    async def _piece(self, request: web.Request, deadline: float) -> bytes:
        """Return what comes next of a body; nothing at its end."""
        try:
            async with asyncio.timeout_at(min(deadline, self._loop.time() + self._patience)):
                return await request.content.readany()
        except TimeoutError:
            raise problems.refused("bodyTimeout", 408, "the body did not come in time") from None
        except (web.RequestPayloadError, http_exceptions.HttpProcessingError):
            raise Refused(_BROKEN) from None

    async def _push(
        self,
        client: Client,
        asked: Asked,
        upload: Upload,
        outbox: Outbox,
        audio: bytes,
        *,
        end: bool = False,
    ) -> None:
        if outbox.relay is None:
            if not audio:
                raise problems.refused("invalidAudio", 400, "there is no audio in the body")
            key = PoolKey(asked.avatar_id, upload.sample_rate, upload.audio_format)
            begun = self._exchange.begin(client, key, outbox)
            if isinstance(begun, Failure):
                raise Refused(begun)
            outbox.relay = begun
        await outbox.push(audio, end=end)


async def _answer(
    request: web.Request, asked: Asked, outbox: Outbox, basis: Basis | None
) -> web.StreamResponse:
    """Write what comes; before its first frame nothing is settled.

    Raises:
        Refused: It failed before that.
    """
    req_id = generate_log_id()
    writing = records.writing(
        asked.answer_type, asked.frames, basis, f"gateway-{secrets.token_hex(8)}", req_id
    )
    frames = await outbox.take()
    if not frames and outbox.failure is not None:
        raise Refused(outbox.failure)
    response = web.StreamResponse(headers=_HEADERS)
    response.content_type = asked.answer_type
    await response.prepare(request)
    if request.transport is not None:
        buffers.bound_unsent(request.transport.get_extra_info("socket"))
    while frames:
        await response.write(_written(writing, outbox, frames))
        frames = await outbox.take()
    await response.write_eof(writing.end(outbox.failure))
    return response


def _written(writing: Writing, outbox: Outbox, frames: list[AnimationFrame]) -> bytes:
    written = b""
    for frame in frames:
        try:
            written += writing.frame(frame)
        except BrokenFrame:
            outbox.interrupt()
            outbox.failure = failures.UNREADABLE
            break
    return written


_BROKEN = Failure("invalidRequest", "the body is broken off or garbled", 3, 400)


def _invalid(why: str) -> Refused:
    return problems.refused("invalidRequest", 400, why)


def _rate(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise _invalid("sample_rate must be the samples per second of raw PCM, as in 16000")
    return int(text)
