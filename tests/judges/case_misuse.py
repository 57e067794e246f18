"""Calls that a session's state forbids, and what a client makes of them."""

from __future__ import annotations

from collections.abc import Awaitable

from judging import Facts, Judge, NotExpressible, case

SILENCE = b"\0\0" * 160


@case
async def forbidden_calls(judge: Judge) -> Facts:
    """Whether each is a ValueError, of whatever other kind it may be."""
    if judge.is_javascript:
        raise NotExpressible  # it has no such kind of error
    given: Facts = {}
    async with judge.new_service() as service, judge.talk(service) as talk:
        session = talk.session
        given["start before init"] = await _is_value_error(session.start())
        given["send before start"] = await _is_value_error(session.send_audio(SILENCE))
        given["interrupt before start"] = await _is_value_error(session.interrupt())
        await talk.open()
        given["start twice"] = await _is_value_error(session.start())
        given["interrupt nothing"] = await _is_value_error(session.interrupt())
        await session.send_audio(SILENCE)
        await service.close()
        await talk.until(lambda: bool(talk.closes))
        for when in ("after the service has gone", "after close"):
            given[f"send {when}"] = await _is_value_error(session.send_audio(SILENCE))
            given[f"interrupt {when}"] = await _is_value_error(session.interrupt())
            await session.close()
    return given


async def _is_value_error(call: Awaitable[object]) -> bool:
    try:
        await call
    except Exception as error:  # noqa: BLE001
        return isinstance(error, ValueError)
    return False
