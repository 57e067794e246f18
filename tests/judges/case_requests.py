"""Requests of every kind, as a client makes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from judging import Facts, Judge, NotExpressible, case, speech

from avatarpool.audio import OpusEncoder
from avatarpool.protocol.settings import OPUS_SAMPLE_RATES, PCM_SAMPLE_RATES


def request_at(sample_rate: int) -> Callable[[Judge], Awaitable[Facts]]:
    async def run(judge: Judge) -> Facts:
        async with (
            judge.new_service() as service,
            judge.talk(service, sample_rate=sample_rate) as talk,
        ):
            connection_id = await talk.open()
            return await talk.ask(speech(sample_rate)) | {"connection_id": bool(connection_id)}

    run.__name__ = f"pcm_{sample_rate}"
    return run


def opus_at(sample_rate: int) -> Callable[[Judge], Awaitable[Facts]]:
    async def run(judge: Judge) -> Facts:
        audio_format = judge.module.AudioFormat.OGG_OPUS
        encoder = OpusEncoder(sample_rate)
        audio = encoder.encode(speech(sample_rate), end=True)
        async with (
            judge.new_service() as service,
            judge.talk(service, sample_rate=sample_rate, audio_format=audio_format) as talk,
        ):
            await talk.open()
            return await talk.ask(audio, piece_bytes=500)

    run.__name__ = f"ogg_opus_{sample_rate}"
    return run


for rate in PCM_SAMPLE_RATES:
    case(request_at(rate))
for rate in OPUS_SAMPLE_RATES:
    case(opus_at(rate))


@case
async def own_opus_encoder(judge: Judge) -> Facts:
    if not judge.is_ours:
        # Two of them encode with opuslib, which needs the system's libopus.
        raise NotExpressible
    async with (
        judge.new_service() as service,
        judge.talk(
            service,
            audio_format=judge.module.AudioFormat.OGG_OPUS,
            ogg_opus_encoder=judge.module.OggOpusEncoderConfig(),
        ) as talk,
    ):
        await talk.open()
        return await talk.ask(speech(), piece_bytes=3200)


@case
async def query_authentication(judge: Judge) -> Facts:
    async with (
        judge.new_service() as service,
        judge.talk(service, use_query_auth=True) as talk,
    ):
        await talk.open()
        return await talk.ask(speech())


@case
async def frames_before_the_audio_ends(judge: Judge) -> Facts:
    audio = speech()
    half = len(audio) // 4 * 2
    async with judge.new_service() as service, judge.talk(service) as talk:
        await talk.open()
        await talk.session.send_audio(audio[:half])
        await talk.until(lambda: bool(talk.frames))
        ended_early = talk.frames[-1][1]
        req_id = await talk.session.send_audio(audio[half:], end=True)
        return await talk.answer(req_id) | {"ended_early": ended_early}


@case
async def one_request_after_another(judge: Judge) -> Facts:
    async with judge.new_service() as service, judge.talk(service) as talk:
        await talk.open()
        answers = [await talk.ask(speech()) for _ in range(3)]
        # Counted once all is over, when frames after a last one would be here.
        ended = [frame.req_id for frame, last in talk.frames if last]
        return {
            "answers_equal": answers[0] == answers[1] == answers[2],
            "request_ids": len({frame.req_id for frame, _ in talk.frames}),
            "ended_ids": [len(ended), len(set(ended))],
            "errors": len(talk.errors),
            **answers[0],
        }


async def _interrupted(judge: Judge, *, end: bool) -> Facts:
    if judge.is_javascript:
        raise NotExpressible  # it interrupts where frames go to a room, and nowhere else
    async with judge.new_service() as service, judge.talk(service) as talk:
        await talk.open()
        sent = await talk.session.send_audio(speech(), end=end)
        interrupted = await talk.session.interrupt()
        answer = await talk.ask(speech())
        frames = [last for frame, last in talk.frames if frame.req_id == sent]
        return answer | {
            "same_id": sent == interrupted,
            "ends_of_the_interrupted": frames.count(True),
            "nothing_after_its_end": True not in frames[:-1],
            "errors": len(talk.errors),
        }


@case
async def interrupt_half_sent(judge: Judge) -> Facts:
    return await _interrupted(judge, end=False)


@case
async def interrupt_after_end(judge: Judge) -> Facts:
    return await _interrupted(judge, end=True)


@case
async def endpoint_variants(judge: Judge) -> Facts:
    """Console and ingress URLs as people write them."""
    async with judge.new_service() as service:
        console, ingress = service.console_url, service.ingress_url
        host = ingress.split("://")[1].rstrip("/")
        tried = {
            "slashes": (f"{console}/", f"{ingress}/"),
            "http": (console, f"http://{host}"),
            "ws": (console, f"ws://{host}"),
            "origin": (console.removesuffix("/v1/console"), ingress),
        }
        opened = {}
        for name, (console_url, ingress_url) in tried.items():
            refused = await judge.refusal(
                service, console_endpoint_url=console_url, ingress_endpoint_url=ingress_url
            )
            opened[name] = refused == {"opened": True}
        return opened
