"""Another sample rate, by windowed sinc."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from avatarpool.audio.samples import Samples

_Kernels = NDArray[np.float32]

# Zero crossings on each side of the kernel, and where it cuts: aliases stay 70 dB
# down, and three quarters of the lower rate's band pass unchanged.
_CROSSINGS = 16
_CUTOFF = 0.9

_BLOCK = 1 << 16  # numbers that are worked on at once: beside the samples, all the memory it takes


# Each place between two samples has a kernel. Rates without a common measure have as many places
# as samples, and take the next of so many for each sample of the lower rate: what that does to
# the sound stays as far down as the aliases. All usual rates are exact.
_PLACES = 2560


def resample(samples: Samples, from_rate: int, to_rate: int) -> Samples:
    """Return the mono 16-bit ``samples`` at another rate, the duration kept."""
    if from_rate == to_rate or not len(samples):
        return samples
    up, down, cutoff, half = _steps(from_rate, to_rate)
    places = min(up, math.ceil(_PLACES * min(1.0, to_rate / from_rate)))
    kernels = _kernels(places, cutoff, half)
    padded = np.pad(samples, half)
    resampled = np.empty(-(-len(samples) * up // down), np.int16)
    if places == up:
        _place_by_place(padded, kernels, down, resampled)
    else:
        _one_by_one(padded, kernels, up, down, resampled)
    return resampled


class Resampler:
    """Resamples what comes in pieces, to what `resample` makes of it whole, but for rounding.

    It holds back a few milliseconds, or up to two seconds of rates without a common measure.

    Args:
        from_rate: Samples per second of what comes.
        to_rate: ... and of what is returned.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self._rates = from_rate, to_rate
        self._up, self._down, _, half = _steps(from_rate, to_rate)
        # Pieces begin where a sample of both rates is.
        self._around = -(-half // self._down) * self._down
        self._held = np.empty(0, np.int16)
        self._before = 0  # of those, the ones that were resampled

    def feed(self, samples: Samples) -> Samples:
        """Take some more; return what is certain by now, perhaps nothing."""
        self._held = np.concatenate((self._held, samples))
        fresh = len(self._held) - self._before - self._around
        fresh -= fresh % self._down
        if fresh <= 0:
            return self._held[:0]
        end = self._before + fresh
        piece = self._resampled(self._held[: end + self._around], end)
        keep = min(self._around, end)
        self._held, self._before = self._held[end - keep :], keep
        return piece

    def end(self) -> Samples:
        """Return the rest."""
        return self._resampled(self._held, None)

    def _resampled(self, samples: Samples, end: int | None) -> Samples:
        resampled = resample(samples, *self._rates)
        stop = None if end is None else end * self._up // self._down
        return resampled[self._before * self._up // self._down : stop]


def _steps(from_rate: int, to_rate: int) -> tuple[int, int, float, int]:
    """Return both rates without their common measure, where to cut, and a kernel's half width."""
    common = math.gcd(from_rate, to_rate)
    cutoff = _CUTOFF * min(1.0, to_rate / from_rate)
    return to_rate // common, from_rate // common, cutoff, math.ceil(_CROSSINGS / cutoff)


def _place_by_place(padded: Samples, kernels: _Kernels, down: int, resampled: Samples) -> None:
    up, width = len(kernels) - 1, kernels.shape[1]
    windows = sliding_window_view(padded, width)
    rows = max(1, _BLOCK // width)
    for first in range(min(up, len(resampled))):
        # Every `up`-th output sample lies `phase / up` after an input sample.
        at, phase = divmod(first * down, up)
        numbers = resampled[first::up]
        sources = windows[at + 1 :: down][: len(numbers)]
        for start in range(0, len(numbers), rows):
            block = slice(start, start + rows)
            numbers[block] = _rounded(sources[block].astype(np.float32) @ kernels[phase])


def _one_by_one(padded: Samples, kernels: _Kernels, up: int, down: int, resampled: Samples) -> None:
    places, width = len(kernels) - 1, kernels.shape[1]
    rows = max(1, _BLOCK // width)
    for start in range(0, len(resampled), rows):
        block = resampled[start : start + rows]
        at, phase = np.divmod(np.arange(start, start + len(block)) * down, up)
        first = at[0] + 1
        around = padded[first : at[-1] + 1 + width].astype(np.float32)
        sources = sliding_window_view(around, width)[at + 1 - first]
        nearest = kernels[(phase * places + up // 2) // up]
        block[:] = _rounded(np.einsum("ij,ij->i", sources, nearest))


def _rounded(sums: _Kernels) -> _Kernels:
    rounded: _Kernels = sums.round().clip(-32768, 32767)
    return rounded


@lru_cache(8)  # what comes in pieces asks for the same again and again
def _kernels(places: int, cutoff: float, half: int) -> _Kernels:
    each = [_kernel(place / places, cutoff, half) for place in range(places + 1)]
    return np.array(each, np.float32)


def _kernel(offset: float, cutoff: float, half: int) -> NDArray[np.float64]:
    """Weights of the ``2 * half`` input samples around a point between two of them."""
    x = np.arange(1 - half, half + 1) - offset
    turn = np.pi * x / half
    blackman = 0.42 + 0.5 * np.cos(turn) + 0.08 * np.cos(2 * turn)
    weights: NDArray[np.float64] = blackman * np.sinc(cutoff * x)
    weights /= weights.sum()  # each phase passes a constant unchanged, or silence would hum
    return weights
