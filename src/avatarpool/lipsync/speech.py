"""What one block of speech sounds like, by three lagged products.

A product of the signal with itself, shifted by a few samples, weighs every
frequency with a cosine: ``r(t) = sum of power(f) * cos(2 pi f t)``. Two shifts
tell what lip-sync without training needs:

- 62.5 microseconds: near 1 for vowels, low or negative for the hiss of s and sh;
- 625 microseconds: +0.4 at 300 Hz and -1 at 800 Hz, so it falls as the first
  formant rises, which is to say as the mouth opens.

All of it is `sum(map(mul, ...))` over slices: C loops, no numpy.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from operator import mul

_HISS_LAG = 62.5e-6
_FORMANT_LAG = 625e-6
_FULL_SCALE_POWER = 32768.0**2
_QUIETEST_DB = -100.0
# Products are taken at this many samples a second, whatever the sample rate:
# leaving some out changes the estimate's noise and not its mean.
_PRODUCTS_PER_SECOND = 8000


@dataclass(frozen=True, slots=True)
class Sound:
    """One block of speech.

    Attributes:
        level_db: Power in dB relative to full scale, without DC.
        hiss: 0 (vowel) to 1 (fricative): the share of high frequencies.
        openness: 0 (closed vowels, nasals) to 1 (open vowels).
    """

    level_db: float
    hiss: float
    openness: float


SILENCE = Sound(_QUIETEST_DB, 0.0, 0.0)


class Ear:
    """Listens at one sample rate.

    Args:
        sample_rate: Samples per second.
    """

    def __init__(self, sample_rate: int) -> None:
        self._step = max(1, sample_rate // _PRODUCTS_PER_SECOND)
        self._hiss_lag = max(1, round(sample_rate * _HISS_LAG))
        self._formant_lag = round(sample_rate * _FORMANT_LAG)
        # At 8 kHz one sample is 125 microseconds: more of the vowel's own
        # power looks like hiss, so less of it counts.
        self._hiss_slope = _HISS_LAG * sample_rate / self._hiss_lag

    def listen(self, block: array[int]) -> Sound:
        """Describe a block of 10 ms or more."""
        count = len(block) - self._formant_lag
        if count < self._step:
            return SILENCE
        base = block[: count : self._step]
        n = len(base)
        mean = sum(base) / n
        floor = mean * mean
        power = sum(map(mul, base, base)) / n - floor
        level_db = 10.0 * math.log10(power / _FULL_SCALE_POWER) if power >= 0.5 else _QUIETEST_DB
        if power < 1.0:
            return Sound(level_db, 0.0, 0.0)
        near = sum(map(mul, base, self._shifted(block, self._hiss_lag, count))) / n - floor
        far = sum(map(mul, base, self._shifted(block, self._formant_lag, count))) / n - floor
        return Sound(
            level_db,
            _clip((1.0 - near / power) * self._hiss_slope),
            _clip((1.0 - far / power) / 2.0),
        )

    def _shifted(self, block: array[int], lag: int, count: int) -> array[int]:
        return block[lag : lag + count : self._step]


def _clip(value: float) -> float:
    return 0.0 if value < 0.0 else min(value, 1.0)
