"""From a synthesiser's timed phones to what is seen every 10 ms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from phones import SCHWA, SILENT, VOICELESS_STOPS, Sight, sights

SAMPLE_RATE = 16000
ROW_SAMPLES = SAMPLE_RATE // 100
SHORTEST_SAMPLES = SAMPLE_RATE // 2  # of an utterance
_LONGEST_CLOSURE_ROWS = 16


@dataclass(frozen=True, slots=True)
class Phone:
    """One phone: seconds from the start, and IPA letters (none for a pause)."""

    start: float
    end: float
    ipa: str


Said = tuple[npt.NDArray[np.float32], list[Phone]]
"""Speech at 16 kHz, full scale 1, and its phones."""


@dataclass(frozen=True, slots=True)
class Labels:
    """One value every 10 ms: index of the viseme, and openness 0 to 1."""

    visemes: npt.NDArray[np.int8]
    openness: npt.NDArray[np.float32]


def label(phones: Sequence[Phone], wave: npt.NDArray[np.float32], *, find_closures: bool) -> Labels:
    """Label a wave at 16 kHz.

    Args:
        phones: In order.
        wave: Full scale is 1.
        find_closures: Move the start of each voiceless stop to where the sound
            before it ends: espeak-ng tells when a stop bursts, and not when
            the mouth closes for it.
    """
    count = len(wave) // ROW_SAMPLES
    visemes = np.zeros(count, np.int8)
    openness = np.zeros(count, np.float32)
    rows = wave[: count * ROW_SAMPLES].reshape(count, ROW_SAMPLES)
    rms = np.sqrt((rows**2).mean(axis=1))
    quiet = 0.06 * np.percentile(rms, 95) if count else 0.0
    before = SILENT
    for start, end, sight, ipa in _parts(phones):
        a, b = round(start * 100), min(round(end * 100), count)
        if b <= a:
            continue
        # Length marks and unknown letters last on, pauses do not.
        lasting = before if rms[a:b].mean() > quiet else SILENT
        now = sight or lasting
        if find_closures and sight is not None and ipa[:1] in VOICELESS_STOPS and before != SILENT:
            earliest = max(0, a - _LONGEST_CLOSURE_ROWS)
            closing = a
            while closing > earliest and rms[closing - 1] < quiet and visemes[closing - 1]:
                closing -= 1
            a = closing if closing > earliest else a
        visemes[a:b], openness[a:b] = now.viseme, now.openness
        before = now
    return Labels(visemes, openness)


def _parts(phones: Sequence[Phone]) -> list[tuple[float, float, Sight | None, str]]:
    """Cut phones of several parts, as diphthongs are, into even ones."""
    parts: list[tuple[float, float, Sight | None, str]] = []
    for i, phone in enumerate(phones):
        seen = sights(phone.ipa)
        step = (phone.end - phone.start) / max(1, len(seen))
        for k, sight in enumerate(seen):
            start = phone.start + k * step
            # A breath takes the shape of the vowel that it leads to.
            shape = sight or _next_shape(phones[i + 1 : i + 3])
            parts.append((start, start + step, shape, phone.ipa))
        if not seen:
            parts.append((phone.start, phone.end, None, phone.ipa))
    return parts


def _next_shape(phones: Sequence[Phone]) -> Sight:
    for phone in phones:
        for sight in sights(phone.ipa):
            if sight is not None:
                return sight
    return SCHWA
