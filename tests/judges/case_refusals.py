"""Every way in which the service says no, as a client hears it."""

from __future__ import annotations

import base64
import json
import socket
import time
from datetime import timedelta

from judging import Facts, Judge, NotExpressible, case, in_, seen, speech

from avatarpool.service import ServiceLimits

# --- the console ---------------------------------------------------------------------


@case
async def bad_key(judge: Judge) -> Facts:
    async with judge.new_service() as service:
        return await judge.refusal(service, api_key="wrong")


@case
async def expiry_too_far(judge: Judge) -> Facts:
    async with judge.new_service() as service:
        return await judge.refusal(service, expire_at=in_(timedelta(hours=25)))


@case
async def expiry_in_the_past(judge: Judge) -> Facts:
    async with judge.new_service() as service:
        return await judge.refusal(service, expire_at=in_(timedelta(minutes=-1)))


@case
async def console_unreachable(judge: Judge) -> Facts:
    async with judge.new_service() as service:
        return await judge.refusal(service, console_endpoint_url=_closed_port())


# --- the upgrade ---------------------------------------------------------------------


@case
async def ingress_unreachable(judge: Judge) -> Facts:
    async with judge.new_service() as service:
        return await judge.refusal(service, ingress_endpoint_url=_closed_port())


@case
async def token_used_again(judge: Judge) -> Facts:
    return await _with_the_same_token(judge, ServiceLimits())


@case
async def used_token(judge: Judge) -> Facts:
    return await _with_the_same_token(judge, ServiceLimits(single_use_tokens=True))


async def _with_the_same_token(judge: Judge, limits: ServiceLimits) -> Facts:
    async with (
        judge.new_service(limits=limits) as service,
        judge.talk(service) as first,
        judge.talk(service) as second,
    ):
        await first.session.init()
        token = judge.take_token(first.session)
        await first.session.start()
        judge.give_token(second.session, token)
        return await judge.started(second)


@case
async def forged_token(judge: Judge) -> Facts:
    async with judge.new_service() as service, judge.talk(service) as talk:
        judge.give_token(talk.session, "bm90IGEgdG9rZW4")
        return await judge.started(talk)


@case
async def expired_token(judge: Judge) -> Facts:
    now = time.time()
    async with (
        judge.new_service(wall_clock=lambda: now) as service,
        judge.talk(service) as talk,
    ):
        await talk.session.init()
        now += 3600
        return await judge.started(talk)


@case
async def app_mismatch(judge: Judge) -> Facts:
    async with judge.new_service(other_apps={"other-app": "other-key"}) as service:
        return await judge.refusal(service, api_key="other-key")


@case
async def app_unknown(judge: Judge) -> Facts:
    async with judge.new_service() as service:
        return await judge.refusal(service, app_id="nobody")


@case
async def avatar_unknown(judge: Judge) -> Facts:
    async with judge.new_service() as service:
        return await judge.refusal(service, avatar_id="nobody")


@case
async def billing(judge: Judge) -> Facts:
    async with judge.new_service(limits=ServiceLimits(credits=0)) as service:
        return await judge.refusal(service)


def _closed_port() -> str:
    """The URL of a port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


# --- the handshake -------------------------------------------------------------------


@case
async def unsupported_rate(judge: Judge) -> Facts:
    async with judge.new_service() as service:
        return await judge.refusal(service, sample_rate=11025)


@case
async def concurrency(judge: Judge) -> Facts:
    async with (
        judge.new_service(limits=ServiceLimits(max_connections=1)) as service,
        judge.talk(service) as first,
    ):
        await first.open()
        return await judge.refusal(service)


@case
async def livekit_token_no_jwt(judge: Judge) -> Facts:
    return await _with_livekit(judge, api_token="unsigned-token")


@case
async def livekit_token_jwt(judge: Judge) -> Facts:
    parts = [_base64({"alg": "HS256"}), _base64({"iss": "me"}), "c2lnbmF0dXJl"]
    return await _with_livekit(judge, api_token=".".join(parts))


@case
async def livekit_without_credentials(judge: Judge) -> Facts:
    return await _with_livekit(judge)


@case
async def livekit_without_room(judge: Judge) -> Facts:
    return await _with_livekit(judge, room_name="", api_token="unsigned-token")


@case
async def agora(judge: Judge) -> Facts:
    async with judge.new_service() as service:
        egress = judge.module.AgoraEgressConfig(channel_name="channel")
        return await judge.refusal(service, agora_egress=egress)


@case
async def agora_without_channel(judge: Judge) -> Facts:
    async with judge.new_service() as service:
        return await judge.refusal(service, agora_egress=judge.module.AgoraEgressConfig())


async def _with_livekit(judge: Judge, **options: str) -> Facts:
    keywords = {"url": "wss://livekit.example.com", "room_name": "room", "publisher_id": "avatar"}
    egress = judge.module.LiveKitEgressConfig(**(keywords | options))
    async with judge.new_service() as service:
        return await judge.refusal(service, livekit_egress=egress)


def _base64(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@case
async def prefetched_token(judge: Judge) -> Facts:
    """One token for all sessions of the process, as its own prewarming has it."""
    if not judge.is_javascript and judge.name != "spatius":
        raise NotExpressible
    async with judge.new_service() as service:
        access = service.config_factory()
        warmed = await judge.module.prewarm(
            app_id=access.app_id,
            api_key=access.api_key,
            console_endpoint_url=access.console_endpoint_url,
            ingress_endpoint_url=access.ingress_endpoint_url,
            prefetch_session_token=True,
        )
        opened = [await judge.refusal(service) for _ in range(3)]
        return {
            "prefetched": warmed.session_token_prefetched,
            "opened": opened == [{"opened": True}] * 3,
            "tokens_issued": service.counters.tokens_issued,
        }


# --- the running session -------------------------------------------------------------


async def _ended(judge: Judge, limits: ServiceLimits, audio: bytes = b"", **options) -> Facts:
    """The errors that a session gives until its end, and how long that takes."""
    async with judge.new_service(limits=limits) as service, judge.talk(service, **options) as talk:
        began = time.monotonic()
        await talk.open()
        if audio:
            await talk.session.send_audio(audio)
        await talk.until(lambda: bool(talk.closes))
        return {
            "errors": [seen(error) for error in talk.errors],
            "closed": bool(talk.closes),
            "seconds": time.monotonic() - began,
        }


@case
async def idle_timeout(judge: Judge) -> Facts:
    return await _ended(judge, ServiceLimits(idle_timeout=0.1))


@case
async def maximum_duration(judge: Judge) -> Facts:
    return await _ended(judge, ServiceLimits(max_session_duration=0.5))


@case
async def credits_run_out(judge: Judge) -> Facts:
    return await _ended(judge, ServiceLimits(credits=0.5), speech())


@case
async def message_too_large(judge: Judge) -> Facts:
    return await _ended(judge, ServiceLimits(max_message_bytes=1024), speech()[:4096])


@case
async def text_message(judge: Judge) -> Facts:
    """What no client sends by itself, through the socket of one."""
    if judge.is_ours:
        raise NotExpressible
    async with judge.new_service() as service, judge.talk(service) as talk:
        await talk.open()
        await talk.session._connection.send("no protobuf")
        await talk.until(lambda: bool(talk.closes))
        return {"errors": [seen(error) for error in talk.errors], "closed": bool(talk.closes)}


@case
async def service_closes(judge: Judge) -> Facts:
    async with judge.new_service() as service, judge.talk(service) as talk:
        await talk.open()
        await service.close()
        await talk.until(lambda: bool(talk.closes))
        return {"errors": [seen(error) for error in talk.errors], "closed": bool(talk.closes)}


@case
async def request_too_long(judge: Judge) -> Facts:
    """The request is given up; the session serves the next one."""
    return await _failed_request(judge, speech(), ServiceLimits(max_request_seconds=1.0))


@case
async def pcm_in_an_ogg_session(judge: Judge) -> Facts:
    audio_format = judge.module.AudioFormat.OGG_OPUS
    return await _failed_request(judge, speech(), ServiceLimits(), audio_format=audio_format)


@case
async def half_a_sample(judge: Judge) -> Facts:
    return await _failed_request(judge, speech()[:-1], ServiceLimits())


@case
async def empty_request(judge: Judge) -> Facts:
    return await _failed_request(judge, b"", ServiceLimits())


async def _failed_request(judge: Judge, audio: bytes, limits: ServiceLimits, **options) -> Facts:
    async with judge.new_service(limits=limits) as service, judge.talk(service, **options) as talk:
        await talk.open()
        try:
            req_id = await talk.session.send_audio(audio, end=True)
            return await talk.answer(req_id)
        except Exception as error:  # noqa: BLE001
            return seen(error)
