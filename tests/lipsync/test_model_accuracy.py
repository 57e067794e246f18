"""The trained driver against the truth, on voices that it was not trained on.

`tools/lipsync/sample.py` cut the sentences; `make lipsync-eval` measures on more.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avatarpool.lipsync import VISEMES
from avatarpool.lipsync.model import ModelDriver

SPREAD, PRESS = 0, 1  # in the expression
ROWS = 4  # labels of 10 ms in a keyframe

arrays = np.load(Path(__file__).with_name("labelled_speech.npz"))


@pytest.fixture(params=["espeak", "flite"])
def spoken(request):
    """Keyframes, and what is true in them: share of each viseme, and opening."""
    pcm, visemes, openness = (
        arrays[f"{request.param}_{name}"] for name in ("pcm", "visemes", "openness")
    )
    count = len(visemes) // ROWS
    driver = ModelDriver(16000, 0)
    keyframes = (driver.feed(pcm.tobytes()) + driver.finish())[:count]
    shares = np.eye(len(VISEMES))[visemes[: count * ROWS]].reshape(count, ROWS, -1).mean(axis=1)
    kernel = np.hanning(13)
    smooth = np.convolve(openness.astype(float), kernel / kernel.sum(), "same")
    return keyframes, shares, smooth[: count * ROWS].reshape(count, ROWS).mean(axis=1)


def test_the_jaw_opens_as_the_phones_ask(spoken):
    keyframes, _, opening = spoken
    jaws = [keyframe.jaw_pose[0] for keyframe in keyframes]

    assert np.corrcoef(jaws, opening)[0, 1] > 0.85


def test_the_lips_meet_for_most_of_p_b_and_m(spoken):
    keyframes, shares, _ = spoken
    pressed = np.array([keyframe.expression[PRESS] for keyframe in keyframes]) >= 0.5
    is_closed = shares[:, VISEMES.index("PP")] >= 0.5
    is_open = shares[:, VISEMES.index("PP")] == 0.0

    assert pressed[is_closed].mean() > 0.6
    assert pressed[is_open].mean() < 0.1


def test_the_jaw_gives_way_to_p_b_and_m(spoken):
    keyframes, shares, _ = spoken
    jaws = np.array([keyframe.jaw_pose[0] for keyframe in keyframes])
    is_closed = shares[:, VISEMES.index("PP")] >= 0.5
    is_spoken = shares[:, VISEMES.index("sil")] < 0.5

    assert jaws[is_closed].mean() < 0.17 * jaws[is_spoken & ~is_closed].mean()


def test_lips_are_rounder_for_u_than_for_i(spoken):
    keyframes, shares, _ = spoken
    spread = np.array([keyframe.expression[SPREAD] for keyframe in keyframes])
    rounded = shares[:, VISEMES.index("ou")] >= 0.5
    wide = shares[:, VISEMES.index("ih")] >= 0.5

    assert spread[wide].mean() > 0.2
    assert spread[wide].mean() - spread[rounded].mean() > 0.2
