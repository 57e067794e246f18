"""Sounds that are no speech and yet open mouths: people's laughter, music, breath."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from labels import SAMPLE_RATE
from recordings import read
from scipy.signal import lfilter

Wave = npt.NDArray[np.float32]

_GAME = Path("/usr/share/games/hedgewars/Data")
_VOICES = _GAME / "Sounds/voices"
_ON_HOLD = Path("/usr/share/asterisk/moh")
# Of these, no network has heard anything.
HELD_OUT_VOICES = ("British", "Default_pl", "HillBilly", "Pirate", "Surfer")
_SECONDS = 20  # of a piece of music
# What else Hedgewars' hedgehogs say, in the same voices and into the same microphones.
_SAID = (
    "Amazing Boring Brilliant Byebye Comeonthen Coward Cutitout Enemydown Excellent Firstblood "
    "Flawless Flyaway Gonnagetyou Grenade Hello Hurry Illgetyou Incoming Justyouwait Kamikaze "
    "Leavemealone Melon Missed Reinforcements Revenge Runaway Sameteam Solong Stupid Takecover "
    "Thisoneismine Traitor Victory Watchit Watchthis Yessir Youllregretthat"
).split()


def laughter(*, held_out: bool) -> list[Wave]:
    """Return the laughs of Hedgewars' voices: those that are held out, or the others."""
    return [read(path) for path in _voiced("Laugh", held_out=held_out)]


def shouts(*, held_out: bool) -> list[Wave]:
    """Return what the same voices say: speech, however they play it."""
    return [read(path) for name in _SAID for path in _voiced(name, held_out=held_out)]


def music(*, held_out: bool) -> list[Wave]:
    """Return pieces of instrumental music: what Asterisk plays to those on hold, or Hedgewars'."""
    paths = sorted(_ON_HOLD.glob("*.wav")) if held_out else sorted((_GAME / "Music").glob("*.ogg"))
    return [read(path)[: _SECONDS * SAMPLE_RATE] for path in paths]


def breath(*, held_out: bool) -> list[Wave]:
    """Return some people's breathing, made of noise and the resonances of an open mouth."""
    source = np.random.default_rng(91 if held_out else 90)
    return [_breaths(source) for _ in range(40)]


def _voiced(name: str, *, held_out: bool) -> list[Path]:
    return [
        path
        for path in sorted(_VOICES.glob(f"*/{name}.ogg"))
        if (path.parent.name in HELD_OUT_VOICES) == held_out
    ]


def _breaths(source: np.random.Generator) -> Wave:
    poles = np.ones(1)
    for low, high, width in (
        (400, 800, 300),
        (1100, 1700, 400),
        (2300, 2900, 500),
        (3300, 4000, 700),
    ):
        radius = np.exp(-np.pi * width / SAMPLE_RATE)
        turn = 2 * np.pi * source.uniform(low, high) / SAMPLE_RATE
        poles = np.convolve(poles, [1.0, -2.0 * radius * np.cos(turn), radius**2])
    level = source.uniform(-50, -26)
    parts = []
    for _ in range(source.integers(1, 5)):
        count = int(SAMPLE_RATE * source.uniform(0.4, 1.2))
        swell = np.sin(np.pi * np.linspace(0, 1, count) ** source.uniform(0.6, 1.5))
        flow = lfilter([1.0, -0.5], poles, source.standard_normal(count))
        flow *= swell * 10 ** (level / 20) / np.sqrt((flow**2).mean())
        quiet = source.standard_normal(int(SAMPLE_RATE * source.uniform(0.2, 1.0))) * 1e-4
        parts += [quiet, flow]
    return np.concatenate(parts).astype(np.float32)
