"""Runs an official SDK's sessions in our pool against our service; prints what happened.

``python vendor_pool.py avatarkit|spatius|spatialreal``
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from echo import EchoDriver, marked_audio, marks

from avatarpool import AvatarConnectionPool, AvatarPoolError
from avatarpool.service import LocalAvatarService


async def main(vendor: Any) -> dict[str, Any]:
    async with LocalAvatarService(driver=EchoDriver) as service:
        return await judge(vendor, service)


async def judge(vendor: Any, service: LocalAvatarService) -> dict[str, Any]:
    config = service.config_factory()
    generated = importlib.import_module(f"{vendor.__name__}.proto.generated.message_pb2")
    raw: set[bytes] = set()

    def options(collector: Any) -> dict[str, Any]:
        # As the SDK's own example wires it, but for a look at what it hands on.
        def transport_frame(data: bytes, is_last: bool) -> None:
            raw.add(data)
            collector.transport_frame(data, is_last)

        return {
            "avatar_id": config.avatar_id,
            "api_key": config.api_key,
            "app_id": config.app_id,
            "console_endpoint_url": config.console_endpoint_url,
            "ingress_endpoint_url": config.ingress_endpoint_url,
            "transport_frames": transport_frame,
            "on_error": collector.on_error,
            "on_close": collector.on_close,
        }

    seen: dict[str, Any] = {"mixed": 0, "answered": 0, "as_they_came": 0}
    pool = AvatarConnectionPool(3, options, session_factory=vendor.new_avatar_session)
    await pool.initialize()

    async def request(mark: int) -> None:
        async with pool.borrow() as conn:
            await conn.session.send_audio(marked_audio(mark, 4))
            await conn.session.send_audio(marked_audio(mark, 4), end=True)
            frames = await conn.collector.wait()
            seen["answered"] += 1
            seen["mixed"] += marks(frames) != [mark] * 8
            messages = [generated.Message.FromString(bytes(frame)) for frame in frames]
            ends = [message.server_response_animation.end for message in messages]
            seen["as_they_came"] += ends == [False] * (len(ends) - 1) + [True] and all(
                bytes(frame) in raw for frame in frames
            )

    await asyncio.gather(*(request(mark) for mark in range(1, 31)))

    for _ in range(3):  # every connection is left half-sent
        async with pool.borrow() as conn:
            await conn.session.send_audio(marked_audio(1, 4))
    async with pool.borrow() as conn:
        await conn.session.send_audio(marked_audio(2, 4), end=True)
        frames = await conn.collector.wait()
        seen["half_sent_joined_the_next"] = marks(frames) != [2] * 4

    async with pool.borrow() as conn:
        await conn.session.send_audio(marked_audio(3, 400), end=True)
        seen["busy"] = await refusal(conn.session.send_audio(b"\0\0", end=True))
        await conn.session.interrupt()
        seen["wrong_audio"] = await refusal(conn.session.send_audio(b"\0", end=True))

    before = {connection["connection_id"] for connection in pool.get_stats()["connections"]}
    pool.drain()
    while before & {connection["connection_id"] for connection in pool.get_stats()["connections"]}:
        await asyncio.sleep(0.01)
    await request(9)
    seen["answered"] -= 1
    seen["as_they_came"] -= 1
    seen["replaced"] = True
    seen["draining"] = pool.get_stats()["connections_draining"]
    await pool.close()

    wrong = AvatarConnectionPool(
        1,
        lambda collector: {**options(collector), "api_key": "wrong"},
        session_factory=vendor.new_avatar_session,
    )
    seen["refused"] = await refusal(wrong.initialize())
    return seen


async def refusal(call: Any) -> str:
    try:
        await call
    except AvatarPoolError as error:
        return type(error).__name__
    return "none"


if __name__ == "__main__":
    logging.getLogger("avatarpool").addHandler(logging.NullHandler())
    module = importlib.import_module(sys.argv[1])
    if sys.argv[1] == "spatius":
        module.configure_telemetry("")
    print(json.dumps(asyncio.run(main(module))))  # noqa: T201
