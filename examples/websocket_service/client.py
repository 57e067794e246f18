"""Speak a file to the WebSocket example as a microphone would, and see when frames come.

``python client.py``, or ``python client.py speech.wav --barge-in 1`` to interrupt.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from contextlib import suppress

from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, WSMsgType

from avatarpool import AvatarPoolError
from avatarpool.audio import read_audio
from avatarpool.load import load_speech_clip
from avatarpool.protocol.codec import decode
from avatarpool.protocol.messages import AnimationFrame

BYTES_PER_SECOND = 32_000  # of 16-bit samples at 16 kHz
PIECE_BYTES = BYTES_PER_SECOND // 10  # 100 ms, as a microphone gives them


async def utter(ws: ClientWebSocketResponse, speech: bytes, barge_in: float | None) -> str:
    """Say it, interrupt it if that is wanted, and show what comes; return how it ended."""
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(send(ws, speech))
        tasks = [sending]
        if barge_in is not None:
            tasks.append(group.create_task(interrupt(ws, sending, barge_in)))
        ending = await listen(ws, sending)
        for task in tasks:
            task.cancel()
    return ending


async def send(ws: ClientWebSocketResponse, speech: bytes) -> None:
    """Send the samples piece by piece, no faster than they are spoken."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    with suppress(ConnectionError):  # `listen` tells of it
        for start in range(0, len(speech), PIECE_BYTES):
            piece = speech[start : start + PIECE_BYTES]
            await asyncio.sleep(began + (start + len(piece)) / BYTES_PER_SECOND - loop.time())
            await ws.send_bytes(piece)
        await ws.send_str("end")


async def interrupt(ws: ClientWebSocketResponse, sending: asyncio.Task[None], after: float) -> None:
    """Barge in: whatever was to be said is not."""
    await asyncio.sleep(after)
    sending.cancel()
    with suppress(ConnectionError):
        await ws.send_str("interrupt")


async def listen(ws: ClientWebSocketResponse, sending: asyncio.Task[None]) -> str:
    """Take frames until the utterance is over; return how it ended."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    count, jaw = 0, 0.0
    async for message in ws:
        if message.type is WSMsgType.BINARY:
            frame = decode(message.data)
            assert isinstance(frame, AnimationFrame), "the server sends nothing else in binary"
            jaw = max(jaw, *(keyframe.jaw_pose[0] for keyframe in frame.keyframes))
            count += 1
            if count == 1:
                so_far = "after all audio" if sending.done() else "while audio is still being sent"
                print(f"first frame after {loop.time() - began:.2f} s, {so_far}")
            continue
        event = json.loads(message.data)
        if event["type"] == "error":
            return f"failed: {event['error']}"
        if event["type"] in ("done", "interrupted"):
            print(
                f"{event['type']} after {loop.time() - began:.2f} s: "
                f"{count} frames, the jaw open up to {jaw:.2f} rad"
            )
            return str(event["type"])
    return f"failed: the server closed the connection ({ws.close_code})"


async def converse(url: str, speech: bytes, barge_in: float | None) -> int:
    """Say it once, or interrupt it and say it again; 0 if it was answered to its end."""
    try:
        async with ClientSession() as http, http.ws_connect(url) as ws:
            ending = await utter(ws, speech, barge_in)
            if ending == "interrupted":
                ending = await utter(ws, speech, None)
    except ClientError as error:
        ending = f"failed: {error} (is the server running, python main.py?)"
    if ending != "done":
        print(ending, file=sys.stderr)
        return 1
    return 0


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("speech", nargs="?", help="a speech file (default: a sample of 3 s)")
    parser.add_argument("--url", default="ws://127.0.0.1:8080/speak", help="default: %(default)s")
    parser.add_argument(
        "--barge-in", type=float, metavar="SECONDS", help="interrupt after that, and begin again"
    )
    options = parser.parse_args()
    try:
        speech = read_audio(options.speech) if options.speech else load_speech_clip()
    except (AvatarPoolError, OSError) as error:  # unreadable, or it needs an extra
        print(f"{options.speech} cannot be used: {error}", file=sys.stderr)
        return 2
    try:
        return asyncio.run(converse(options.url, speech, options.barge_in))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
