"""An example that says the lines of its command line, run as a process of its own."""

import asyncio
import json
import os
import shutil
import sys
import wave

import pytest

PATIENCE = 120.0

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None and "REQUIRE_ESPEAK" not in os.environ,
    reason="espeak-ng is not installed",
)


async def start(main, directory, *lines, path=None):
    """Start it in a folder, with no account."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AVATAR_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        main,
        *lines,
        cwd=directory,
        env={**clean, "PATH": path or clean["PATH"]},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process):
    """Wait for its end; return its exit code and what it wrote."""
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def began(voice):
    """Wait until it has written some of its voice."""
    async with asyncio.timeout(PATIENCE):
        while not voice.exists() or not voice.stat().st_size:
            await asyncio.sleep(0.05)


def voice_ms(voice):
    """Return how long the voice in a WAV file lasts."""
    with wave.open(str(voice)) as sound:
        return 1000 * sound.getnframes() / sound.getframerate()


def check_face(voice, *, contexts):
    """Look at the face beside a voice; return by how many ms it is longer."""
    text = voice.with_suffix(".jsonl").read_text(encoding="utf-8")
    messages = [json.loads(line) for line in text.splitlines()]
    assert len({message["context_id"] for message in messages}) == contexts
    frames = [frame for message in messages for frame in message["frames"]]
    assert max(frame["jawOpen"] for frame in frames) > 0.2
    began_ms = {}
    for message in messages:
        first_ms = began_ms.setdefault(
            message["context_id"], message["at_ms"] - message["start_ms"]
        )
        assert abs(message["at_ms"] - first_ms - message["start_ms"]) <= 40
    return 40 * len(frames) - voice_ms(voice)
