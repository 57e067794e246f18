"""Time to the first frame of many concurrent requests on one local service.

    python benchmarks/first_frame.py --requests 50

The service runs in a process of its own and the clients in this one, as they
would: every client sends the whole clip at once, all of them at the same time.
Beside them, a probe sends one short request after the other, and its figures
are printed apart: it is what somebody notices who comes while others are busy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
import wave
from collections.abc import Sequence
from importlib.resources import files

import aiohttp

from avatarpool.config import AudioFormat
from avatarpool.protocol.codec import decode, encode, encode_audio
from avatarpool.protocol.messages import AnimationFrame, ConfigureSession
from avatarpool.protocol.request_ids import new_request_id

SAMPLE_RATE = 16000

SERVE = """
import asyncio, json, sys
from avatarpool.service import LocalAvatarService

async def main():
    async with LocalAvatarService(workers=int(sys.argv[1])) as service:
        print(json.dumps(service.environment), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


async def connect(
    http: aiohttp.ClientSession, environment: dict[str, str]
) -> aiohttp.ClientWebSocketResponse:
    """Open one session: token, upgrade, handshake."""
    async with http.post(
        environment["AVATAR_CONSOLE_ENDPOINT"] + "/session-tokens",
        json={"expireAt": int(time.time()) + 600},
        headers={"X-Api-Key": environment["AVATAR_API_KEY"]},
    ) as answer:
        token = (await answer.json())["sessionToken"]
    socket = await http.ws_connect(
        environment["AVATAR_INGRESS_ENDPOINT"] + "/websocket",
        params={"id": environment["AVATAR_SESSION_AVATAR_ID"]},
        headers={"X-App-ID": environment["AVATAR_APP_ID"], "X-Session-Key": token},
    )
    await socket.send_bytes(encode(ConfigureSession(SAMPLE_RATE, AudioFormat.PCM_S16LE)))
    await socket.receive_bytes()
    return socket


async def request(socket: aiohttp.ClientWebSocketResponse, pcm: bytes) -> tuple[float, float]:
    """Return the seconds to the first frame and to the last one."""
    began = time.perf_counter()
    await socket.send_bytes(encode_audio(new_request_id(), pcm, end=True))
    first = None
    while True:
        message = decode(await socket.receive_bytes())
        assert isinstance(message, AnimationFrame), message
        first = first or time.perf_counter() - began
        if message.end:
            return first, time.perf_counter() - began


async def probe(
    socket: aiohttp.ClientWebSocketResponse, pcm: bytes, busy: asyncio.Event
) -> list[float]:
    """Send short requests while the others are busy; return their first frames' seconds."""
    firsts = []
    while not busy.is_set():
        firsts.append((await request(socket, pcm))[0])
        await asyncio.sleep(0.005)
    return firsts


async def measure(environment: dict[str, str], requests: int, clip: bytes) -> None:
    """Run them all once and print the figures."""
    async with aiohttp.ClientSession() as http:
        sockets = [await connect(http, environment) for _ in range(requests + 1)]
        short = clip[: SAMPLE_RATE * 2]
        await request(sockets[0], short)
        done = asyncio.Event()
        probing = asyncio.ensure_future(probe(sockets[-1], short, done))
        results = await asyncio.gather(*(request(socket, clip) for socket in sockets[:-1]))
        done.set()
        seconds = len(clip) / 2 / SAMPLE_RATE
        report(
            f"{requests} at once, {seconds:.1f} s of audio: first frame", [r[0] for r in results]
        )
        report("the same: last frame", [r[1] for r in results])
        report("a request beside them: first frame", await probing)
        for socket in sockets:
            await socket.close()


def report(name: str, seconds: Sequence[float]) -> None:
    """Print one line."""
    ms = sorted(1000 * value for value in seconds)
    p95 = ms[min(len(ms) - 1, int(0.95 * len(ms)))]
    print(
        f"{name:48} p50 {statistics.median(ms):7.1f} ms   p95 {p95:7.1f} ms"
        f"   max {ms[-1]:7.1f} ms   (n={len(ms)})"
    )


def main() -> None:
    """Start a service, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--repeat", type=int, default=6, help="times the 3 s clip is repeated")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    with wave.open(str(files("avatarpool").joinpath("assets/speech.wav"))) as file:
        clip = file.readframes(file.getnframes()) * options.repeat
    command = [sys.executable, "-c", SERVE, str(options.workers)]
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        environment = json.loads(server.stdout.readline())
        asyncio.run(measure(environment, options.requests, clip))
        server.communicate()


if __name__ == "__main__":
    main()
