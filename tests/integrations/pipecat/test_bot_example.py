"""The example bot as a process of its own, as its README starts it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from example_bot import began, check_face, ended, needs_espeak, start, voice_ms

pytest.importorskip(
    "pipecat.frames", reason="pipecat-ai is not installed: make integrations runs these tests"
)

MAIN = Path(__file__).parents[3] / "examples" / "pipecat_bot" / "main.py"
VOICE = "bot.wav"


@needs_espeak
async def test_it_says_its_lines_with_a_face_in_step(tmp_path):
    code, out, err = await ended(await start(MAIN, tmp_path, "One, two.", "Three."))
    assert code == 0, err
    assert "espeak-ng is not installed" not in err
    assert out.count("said ") == 2
    assert abs(check_face(tmp_path / VOICE, contexts=2)) < 2500  # which ends in silence


async def test_without_espeak_it_says_so_and_a_sample_is_heard(tmp_path):
    code, out, err = await ended(await start(MAIN, tmp_path, "Anything.", path="/nowhere"))
    assert code == 0, err
    assert "apt-get install espeak-ng" in err
    assert "said 3.0 s" in out
    assert abs(check_face(tmp_path / VOICE, contexts=1)) < 2500  # which ends in silence


async def test_ctrl_c_ends_it_and_leaves_whole_files(tmp_path):
    process = await start(MAIN, tmp_path, "A long line. " * 40)
    await began(tmp_path / VOICE)
    process.send_signal(signal.SIGINT)
    code, out, err = await ended(process)
    assert code == 130, err
    assert "Traceback" not in err
    assert "bot.wav" in out
    assert voice_ms(tmp_path / VOICE) < 60_000


async def test_help_says_how(tmp_path):
    code, out, _ = await ended(await start(MAIN, tmp_path, "--help"))
    assert (code, out.split(":")[0]) == (0, "usage")
