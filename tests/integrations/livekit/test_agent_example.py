"""The example agent as a process of its own, as its README starts it, and as a room's job."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
from pathlib import Path

import pytest
from example_bot import PATIENCE, began, check_face, ended, needs_espeak, start, voice_ms

pytest.importorskip(
    "livekit.agents", reason="livekit-agents is not installed: make integrations runs these tests"
)

from livekit import rtc
from livekit.agents.testing import fake_job_context

MAIN = Path(__file__).parents[3] / "examples" / "livekit_agent" / "main.py"
VOICE = "agent.wav"


@needs_espeak
async def test_it_says_its_lines_with_a_face_in_step(tmp_path):
    code, out, err = await ended(await start(MAIN, tmp_path, "One, two.", "Three."))
    assert code == 0, err
    assert "espeak-ng is not installed" not in err
    assert out.count("said ") == 2
    assert abs(check_face(tmp_path / VOICE, contexts=2)) <= 200


async def test_without_espeak_it_says_so_and_a_sample_is_heard(tmp_path):
    code, out, err = await ended(await start(MAIN, tmp_path, "Anything.", path="/nowhere"))
    assert code == 0, err
    assert "apt-get install espeak-ng" in err
    assert "said 3.0 s" in out
    assert abs(check_face(tmp_path / VOICE, contexts=1)) <= 100


async def test_ctrl_c_ends_it_and_leaves_whole_files(tmp_path):
    process = await start(MAIN, tmp_path, "A long line. " * 40)
    await began(tmp_path / VOICE)
    process.send_signal(signal.SIGINT)
    code, _, err = await ended(process)
    assert code == 130, err
    assert "Traceback" not in err
    assert "agent.wav" in err
    assert voice_ms(tmp_path / VOICE) < 60_000


async def test_help_says_how(tmp_path):
    code, out, _ = await ended(await start(MAIN, tmp_path, "--help"))
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
