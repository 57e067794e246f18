"""Another sample rate, by windowed sinc."""

from __future__ import annotations

import math

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
    common = math.gcd(from_rate, to_rate)
    up, down = to_rate // common, from_rate // common
    cutoff = _CUTOFF * min(1.0, to_rate / from_rate)
    half = math.ceil(_CROSSINGS / cutoff)
    places = min(up, math.ceil(_PLACES * min(1.0, to_rate / from_rate)))
    kernels = np.array(
        [_kernel(place / places, cutoff, half) for place in range(places + 1)], np.float32
    )
    padded = np.pad(samples, half)
    resampled = np.empty(-(-len(samples) * up // down), np.int16)
    if places == up:
        _place_by_place(padded, kernels, down, resampled)
    else:
        _one_by_one(padded, kernels, up, down, resampled)
    return resampled


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


def _kernel(offset: float, cutoff: float, half: int) -> NDArray[np.float64]:
    """Weights of the ``2 * half`` input samples around a point between two of them."""
    x = np.arange(1 - half, half + 1) - offset
    turn = np.pi * x / half
    blackman = 0.42 + 0.5 * np.cos(turn) + 0.08 * np.cos(2 * turn)
    weights: NDArray[np.float64] = blackman * np.sinc(cutoff * x)
    weights /= weights.sum()  # each phase passes a constant unchanged, or silence would hum
    return weights
