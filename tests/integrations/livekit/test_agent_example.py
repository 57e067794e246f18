"""The example agent as a process of its own, as its README starts it, and as a room's job."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import signal
import sys
import wave
from pathlib import Path

import pytest

pytest.importorskip(
    "livekit.agents", reason="livekit-agents is not installed: make integrations runs these tests"
)

from livekit import rtc
from livekit.agents.testing import fake_job_context

MAIN = Path(__file__).parents[3] / "examples" / "livekit_agent" / "main.py"
PATIENCE = 120.0


async def start(directory, *lines, path=None):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AVATAR_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        MAIN,
        *lines,
        cwd=directory,
        env={**clean, "PATH": path or clean["PATH"]},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process):
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    return process.returncode, out.decode(), err.decode()


def voice_ms(directory):
    with wave.open(str(directory / "agent.wav")) as sound:
        return 1000 * sound.getnframes() / sound.getframerate()


def check_face(directory, *, contexts):
    text = (directory / "agent.jsonl").read_text(encoding="utf-8")
    messages = [json.loads(line) for line in text.splitlines()]
    assert len({message["context_id"] for message in messages}) == contexts
    frames = [frame for message in messages for frame in message["frames"]]
    assert abs(40 * len(frames) - voice_ms(directory)) <= 100 * contexts
    assert max(frame["jawOpen"] for frame in frames) > 0.2
    began_ms = {}
    for message in messages:
        began = began_ms.setdefault(message["context_id"], message["at_ms"] - message["start_ms"])
        assert abs(message["at_ms"] - began - message["start_ms"]) <= 40


@pytest.mark.skipif(
    shutil.which("espeak-ng") is None and "REQUIRE_ESPEAK" not in os.environ,
    reason="espeak-ng is not installed",
)
async def test_it_says_its_lines_with_a_face_in_step(tmp_path):
    code, out, err = await ended(await start(tmp_path, "One, two.", "Three."))
    assert code == 0, err
    assert "espeak-ng is not installed" not in err
    assert out.count("said ") == 2
    check_face(tmp_path, contexts=2)


async def test_without_espeak_it_says_so_and_a_sample_is_heard(tmp_path):
    code, out, err = await ended(await start(tmp_path, "Anything.", path="/nowhere"))
    assert code == 0, err
    assert "apt-get install espeak-ng" in err
    assert "said 3.0 s" in out
    check_face(tmp_path, contexts=1)


async def test_ctrl_c_ends_it_and_leaves_whole_files(tmp_path):
    process = await start(tmp_path, "A long line. " * 40)
    async with asyncio.timeout(PATIENCE):
        while not (tmp_path / "agent.wav").exists() or not (tmp_path / "agent.wav").stat().st_size:
            await asyncio.sleep(0.05)
    process.send_signal(signal.SIGINT)
    code, _, err = await ended(process)
    assert code == 130, err
    assert "Traceback" not in err
    assert "agent.wav" in err
    assert voice_ms(tmp_path) < 60_000


async def test_help_says_how(tmp_path):
    code, out, _ = await ended(await start(tmp_path, "--help"))
    assert (code, out.split(":")[0]) == (0, "usage")


async def test_it_is_a_rooms_job_that_begins_and_ends(monkeypatch, caplog):
    for name in [name for name in os.environ if name.startswith("AVATAR_")]:
        monkeypatch.delenv(name)
    spec = importlib.util.spec_from_file_location("livekit_agent_example", MAIN)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    with fake_job_context(room=rtc.Room()) as job:  # which no server connects
        async with asyncio.timeout(PATIENCE):
            await example.greet(job)
            await asyncio.gather(*[ends("over") for ends in job._shutdown_callbacks])
            await job._primary_agent_session.aclose()
        job._tempdir.cleanup()
    assert not [line for line in caplog.records if line.levelname == "ERROR"]
