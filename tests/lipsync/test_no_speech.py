"""The trained driver in what is no speech; `make lipsync-eval` measures on recordings."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from sounds import animate, jaws, speech

from avatarpool.audio import read_audio
from avatarpool.blendshapes.local import JAW_RADIANS
from avatarpool.lipsync.model import ModelDriver

RATE = 16000
HEDGEHOGS = Path("/usr/share/games/hedgewars/Data/Sounds/voices")


def opening(pcm: bytes) -> float:
    """Return how far the mouth is open in the mean, 0 to 1."""
    opened = jaws(animate(ModelDriver, pcm))
    return sum(opened) / len(opened) / JAW_RADIANS


def resonant(source, formants):
    """Return the source as a mouth with these resonances lets it out."""
    hertz = np.fft.rfftfreq(len(source), 1 / RATE)
    gain = np.prod(
        [1 / (1 + ((hertz - formant) / width) ** 2) ** 0.5 for formant, width in formants], axis=0
    )
    gain += np.sum(
        [1 / (1 + ((hertz - formant) / width) ** 2) for formant, width in formants], axis=0
    )
    return np.fft.irfft(np.fft.rfft(source) * gain, len(source))


def as_pcm(wave, decibels):
    wave = wave / np.sqrt((wave**2).mean()) * 10 ** (decibels / 20)
    return (np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes()


def breath(decibels):
    """In and out, a second each, through an open mouth."""
    noise = np.random.default_rng(1).standard_normal(4 * RATE)
    swell = np.sin(np.linspace(0, 4 * math.pi, len(noise))) ** 2
    return as_pcm(resonant(noise, [(600, 200), (1400, 300), (2600, 400)]) * swell, decibels)


def music(decibels, beat=0.35):
    """Chords of plucked strings above a bass."""
    time = np.arange(int(beat * RATE)) / RATE
    bars = []
    for bar, root in enumerate((220.0, 174.6, 130.8, 196.0) * 3):
        chord = [root / 2, root, root * 1.26, root * 1.5, root * 2 ** ((bar % 3) * 7 / 12)]
        bars += [
            sum(
                np.sin(2 * math.pi * note * k * time) / k**1.2 * np.exp(-time * (2 + k))
                for note in (*chord[:1], chord[1 + step % 4])
                for k in range(1, 9)
            )
            for step in range(4)
        ]
    return as_pcm(np.concatenate(bars), decibels)


@pytest.mark.parametrize("decibels", [-26, -38])
@pytest.mark.parametrize("sound", [breath, music])
def test_breath_and_music_keep_the_mouth_calm(sound, decibels):
    assert opening(sound(decibels)) < 0.03


@pytest.mark.skipif(not HEDGEHOGS.is_dir(), reason="no recorded laughter: hedgewars-data")
@pytest.mark.parametrize("voice", ["British", "Pirate", "Surfer"])
def test_recorded_laughter_keeps_the_mouth_calmer_than_speech(voice):
    laugh = read_audio(str(HEDGEHOGS / voice / "Laugh.ogg"), sample_rate=RATE)

    assert opening(laugh) < opening(speech())


def test_after_music_speech_moves_the_mouth_again():
    before = music(-26)
    first = len(before) // (2 * RATE // 25) + len(speech()) // (2 * RATE // 25)
    after = jaws(animate(ModelDriver, before + 2 * speech()))[first:]

    assert sum(after) > 0.7 * sum(jaws(animate(ModelDriver, speech())))
