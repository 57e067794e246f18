"""Rooms, microphones, lines and noises between a synthesiser and a model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from labels import SAMPLE_RATE
from scipy.signal import butter, fftconvolve, lfilter, resample_poly, sosfilt

Wave = npt.NDArray[np.float32]
Source = np.random.Generator


def record(wave: Wave, source: Source, others: list[Wave]) -> Wave:
    """Return the wave as some microphone in some room may have heard it.

    Args:
        wave: Full scale 1, 16 kHz.
        source: Decides what happens to it.
        others: Voices that may be talking in the background.
    """
    heard: npt.NDArray[np.floating] = wave
    if source.random() < 0.4:
        heard = lfilter([1.0, -source.uniform(-0.5, 0.6)], [1.0], heard)
    if source.random() < 0.2:
        band = [source.uniform(50, 250), source.uniform(3200, 7000)]
        heard = sosfilt(butter(4, band, "band", fs=SAMPLE_RATE, output="sos"), heard)
    if source.random() < 0.25:
        heard = _reverberate(heard, source)
    level = source.uniform(-44, -13)
    heard = heard * (_gain(level) / _rms(heard))
    if source.random() < 0.6:
        heard = heard + noise(len(heard), source) * _gain(level - source.uniform(15, 60))
    if others and source.random() < 0.15:
        other = np.resize(others[source.integers(len(others))], len(heard))
        heard = heard + other * (_gain(level - source.uniform(15, 40)) / _rms(other))
    choice = source.random()
    if choice < 0.12:
        heard = _companded(heard)
    elif choice < 0.24:
        heard = _narrowed(heard)
    elif choice < 0.30:
        heard = np.clip(heard, -1, 1) * source.uniform(1.0, 4.0)
    steps = np.round(np.clip(heard, -1, 1) * 32767)
    return (steps / 32768).astype(np.float32)


def noise(count: int, source: Source) -> Wave:
    """Return noise of some colour, or a hum, of power 1."""
    if source.random() < 0.15:
        time = np.arange(count) / SAMPLE_RATE
        base = source.uniform(45, 400)
        tones = sum(source.random() * np.sin(2 * np.pi * base * k * time) for k in range(1, 8))
        return (tones / _rms(np.asarray(tones))).astype(np.float32)
    white = source.standard_normal(count)
    if source.random() < 0.7:
        white = lfilter([1.0], [1.0, -source.uniform(0.3, 0.98)], white)
    return (white / _rms(white)).astype(np.float32)


def no_speech(seconds: float, source: Source) -> Wave:
    """Return what must leave the mouth shut: silence, noise, hum, tones."""
    count = int(seconds * SAMPLE_RATE)
    kind = source.random()
    if kind < 0.15:
        return np.zeros(count, np.float32)
    if kind < 0.65:
        wave = noise(count, source) * _gain(source.uniform(-80, -25))
    else:
        time = np.arange(count) / SAMPLE_RATE
        hertz = np.exp(source.uniform(np.log(60), np.log(6000)))
        harmonics = source.choice((1, 1, 1, 2, 3))
        tones = np.sum(
            [np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, harmonics + 1)], 0
        )
        if source.random() < 0.3:  # beeps
            tones = tones * (np.sin(2 * np.pi * source.uniform(0.5, 4) * time) > 0)
        wave = tones / _rms(tones) * _gain(source.uniform(-50, -6))
        wave = wave + noise(count, source) * _gain(source.uniform(-90, -60))
    if source.random() < 0.5:  # begins in silence
        wave[: source.integers(count // 2)] = 0
    return (np.round(np.clip(wave, -1, 1) * 32767) / 32768).astype(np.float32)


def warp(logs: npt.NDArray[np.float32], source: Source) -> npt.NDArray[np.float32]:
    """Return (rows, bands) log powers of a longer or shorter vocal tract."""
    bands = logs.shape[1]
    if source.random() < 0.3:
        return logs
    place = np.arange(bands) * source.uniform(0.87, 1.15) + source.uniform(-0.5, 0.5)
    place = np.clip(place, 0, bands - 1.001)
    low = place.astype(int)
    share = (place - low).astype(np.float32)
    return logs[:, low] * (1 - share) + logs[:, low + 1] * share


def _reverberate(wave: npt.NDArray[np.floating], source: Source) -> npt.NDArray[np.floating]:
    length = int(SAMPLE_RATE * source.uniform(0.05, 0.3))
    tail = source.standard_normal(length) * np.exp(-np.arange(length) / (length / 5))
    tail *= source.uniform(0.05, 0.5) / np.sqrt((tail**2).sum())
    tail[0] = 1.0
    echoed: npt.NDArray[np.floating] = fftconvolve(wave, tail)[: len(wave)]
    return echoed


def _companded(wave: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """As mu-law, 8 bits, 8 kHz: a telephone."""
    narrow = np.clip(resample_poly(wave, 1, 2), -1, 1)
    code = np.round(np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256) * 127) / 127
    line = np.sign(code) * np.expm1(np.abs(code) * np.log(256)) / 255
    wide: npt.NDArray[np.floating] = resample_poly(line, 2, 1)[: len(wave)]
    return wide


def _narrowed(wave: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """As at 8 kHz."""
    wide: npt.NDArray[np.floating] = resample_poly(resample_poly(wave, 1, 2), 2, 1)[: len(wave)]
    return wide


def _rms(wave: npt.NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(wave)))) + 1e-9


def _gain(decibels: float) -> float:
    return float(10 ** (decibels / 20))
